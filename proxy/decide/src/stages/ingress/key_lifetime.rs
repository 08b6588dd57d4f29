//! Ends every use of a virtual key when the key ends, also in the middle of an answer.

use alloc::boxed::Box;

use crate::case::{Key, Presented, Timestamp};
use crate::stream::{StreamEvent, Watch};
use crate::verdict::KeyEnd;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct KeyLifetime;

static RULE: Rule = Rule {
    id: RuleId("ingress/key_lifetime"),
    says: "A virtual key that is revoked, expired or used up opens nothing and receives nothing more.",
};

impl Stage for KeyLifetime {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let proxied = cx.case.caller.get()?.proxied.as_ref();
        let presented = match cx.case.key.get()? {
            Presented::Key(key) => Some(key),
            Presented::Nothing | Presented::Unknown | Presented::Ambiguous => None,
        };
        let mut verdict = Verdict::Abstain;
        for key in proxied.into_iter().chain(presented) {
            if let Some(end) = end(key, cx.case.received) {
                return Ok(Reason::KeyOver(end).into());
            }
            verdict = Verdict::Pass;
        }
        Ok(verdict)
    }

    /// Always opened: a request without a key has none that could end.
    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        Some(Box::new(CutWhenOver))
    }
}

fn end(key: &Key, now: Timestamp) -> Option<KeyEnd> {
    if key.revoked {
        Some(KeyEnd::Revoked)
    } else if key.expires.is_some_and(|end| end <= now) {
        Some(KeyEnd::Expired)
    } else {
        (key.uses_left == Some(0)).then_some(KeyEnd::UsedUp)
    }
}

struct CutWhenOver;

impl Watch for CutWhenOver {
    fn see(&mut self, event: &StreamEvent) -> Result<Verdict, Missing> {
        Ok(match event {
            StreamEvent::Expired(end) => Reason::KeyOver(*end).into(),
            StreamEvent::Heard(_)
            | StreamEvent::Killed(_)
            | StreamEvent::Gone
            | StreamEvent::End => Verdict::Abstain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, judge, key, watch};

    #[test]
    fn the_key_shown_to_the_proxy_ends_like_the_one_in_a_request() {
        let mut tunnelled = case().presenting(Presented::Nothing);
        assert_eq!(judge(&KeyLifetime, &tunnelled), Ok(Verdict::Abstain));
        if let crate::Known::Fact(caller) = &mut tunnelled.caller {
            caller.proxied = Some(Key { revoked: true, ..key() });
        }
        assert_eq!(judge(&KeyLifetime, &tunnelled), Ok(over(KeyEnd::Revoked)));
    }

    fn over(end: KeyEnd) -> Verdict {
        Reason::KeyOver(end).into()
    }

    #[test]
    fn a_live_key_passes() {
        assert_eq!(judge(&KeyLifetime, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn a_key_expires_at_its_microsecond_and_not_before() {
        let (mut now, mut later) = (key(), key());
        now.expires = Some(case().received);
        later.expires = Some(Timestamp(case().received.0 + 1));
        let at_the_end = case().presenting(Presented::Key(now));
        let before_it = case().presenting(Presented::Key(later));
        assert_eq!(judge(&KeyLifetime, &at_the_end), Ok(over(KeyEnd::Expired)));
        assert_eq!(judge(&KeyLifetime, &before_it), Ok(Verdict::Pass));
    }

    #[test]
    fn the_last_use_passes_and_the_next_does_not() {
        let (mut last, mut spent) = (key(), key());
        last.uses_left = Some(1);
        spent.uses_left = Some(0);
        assert_eq!(
            judge(&KeyLifetime, &case().presenting(Presented::Key(last))),
            Ok(Verdict::Pass)
        );
        assert_eq!(
            judge(&KeyLifetime, &case().presenting(Presented::Key(spent))),
            Ok(over(KeyEnd::UsedUp))
        );
    }

    #[test]
    fn a_revoked_key_is_over_whatever_else_holds() {
        let mut revoked = key();
        revoked.revoked = true;
        revoked.uses_left = Some(0);
        assert_eq!(
            judge(&KeyLifetime, &case().presenting(Presented::Key(revoked))),
            Ok(over(KeyEnd::Revoked))
        );
    }

    #[test]
    fn an_open_answer_is_cut_when_its_key_ends() {
        let mut watch = watch(&KeyLifetime, &case()).unwrap();
        assert_eq!(watch.see(&StreamEvent::Expired(KeyEnd::Expired)), Ok(over(KeyEnd::Expired)));
    }
}
