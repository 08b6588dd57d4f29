//! Ends every use of a virtual key when the key ends, also in the middle of an answer.

use alloc::boxed::Box;

use crate::case::Presented;
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
        let key = match cx.case.key.get()? {
            Presented::Key(key) => key,
            Presented::Nothing | Presented::Unknown | Presented::Ambiguous => {
                return Ok(Verdict::Abstain);
            }
        };
        Ok(if key.revoked {
            Reason::KeyOver(KeyEnd::Revoked).into()
        } else if key.expires.is_some_and(|end| end <= cx.case.received) {
            Reason::KeyOver(KeyEnd::Expired).into()
        } else if key.uses_left == Some(0) {
            Reason::KeyOver(KeyEnd::UsedUp).into()
        } else {
            Verdict::Pass
        })
    }

    /// Always opened: a request without a key has none that could end.
    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        Some(Box::new(CutWhenOver))
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
    use crate::case::Timestamp;
    use crate::testkit::{case, judge, key, watch};

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
