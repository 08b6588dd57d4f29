//! The chain as a page: `docs/chain.md`.

use alloc::format;
use alloc::string::String;

use super::{Band, CHAIN};
use crate::case::{Case, RequestContext, Timestamp};
use crate::policy::{Budgets, Policy};
use crate::scan::patterns::{PATTERNS, PROOF_MAX};

/// Every rule by band, with its sentence, and what the scanner finds and does not find.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# The chain\n\nGenerated from `proxy/decide` by `cargo xtask`; do not edit. Every request is judged by every rule, in this\norder. Rules marked ↔ also watch the answer.\n",
    );
    for band in Band::ALL {
        page.extend([format!(
            "\n## {}\n\n{}\n\n| rule | says |\n|---|---|\n",
            name(band),
            question(band)
        )]);
        for stage in CHAIN.band(band) {
            let rule = stage.rule();
            let mark = if watches(stage) { " ↔" } else { "" };
            page.extend([format!("| `{}`{mark} | {} |\n", rule.id, rule.says)]);
        }
    }
    page.extend([format!(
        "\n## Secrets\n\nA secret is found by its proof: the shortest prefix that is the violation, at most {PROOF_MAX} bytes. *Boundary*: looked for\nonly where no letter or digit stands before it. A finding reaches to the end of the secret.\n\n| class | proof | boundary | bytes |\n|---|---|---|---|\n"
    )]);
    for pattern in &PATTERNS {
        page.extend([format!(
            "| {} | {} | {} | {} |\n",
            pattern.class.name(),
            pattern.written(),
            if pattern.boundary { "yes" } else { "no" },
            pattern.proof(),
        )]);
    }
    page.push_str(NOT_CAUGHT);
    page
}

/// What the scanner does not decode. No more than the table above is promised.
const NOT_CAUGHT: &str = "
## What is not caught

Text is read with its JSON escapes decoded, and JSON inside a text with its own decoded too; path, query and headers of a
request also with their percent escapes decoded. Nothing else is decoded, so nothing is found in:

- base64, hex, HTML-entity or any other encoding of a secret, percent escapes in a body, encryption and compression
  inside a text;
- a text of more than 4 KiB that is base64 and nothing else (also as a `data:` URL): it is taken for media and not scanned,
  because in so much of it a pattern is met by chance;
- fields of an answer that the provider documents as opaque: signatures, encrypted reasoning, embeddings, padding;
- a secret with other characters in it: spaces, line breaks, zero-width characters, look-alike letters of other alphabets;
- a secret that is split over two fields, two choices, or two kinds of text (text, arguments, thinking);
- a third level of JSON escapes; images, audio and files; an answer of a type that is neither text nor JSON;
- passwords and tokens without an issuer's prefix (an AWS secret access key beside its id, a database password);
- a JSON Web Token whose header is longer than 233 characters, or that is encrypted (its second part is not JSON).
";

const fn name(band: Band) -> &'static str {
    match band {
        Band::Ingress => "ingress",
        Band::Filtering => "filtering",
        Band::Content => "content",
        Band::Engines => "engines",
        Band::Verdict => "verdict",
    }
}

const fn question(band: Band) -> &'static str {
    match band {
        Band::Ingress => "Who is calling, and may they call at all.",
        Band::Filtering => "Where it goes and what it asks for.",
        Band::Content => "What the bytes carry.",
        Band::Engines => "What the books say.",
        Band::Verdict => "The last word.",
    }
}

/// Whether the rule opens a watch, which none decides by the facts of one case.
fn watches(stage: &dyn crate::Stage) -> bool {
    let case = Case::opened(String::new(), Timestamp(0));
    let policy = Policy {
        id: String::new(),
        version: String::new(),
        digest: [0; 32],
        team: None,
        cost_center: None,
        budgets: Budgets::default(),
        agents: [].into(),
    };
    stage.watch(&RequestContext { case: &case, policy: &policy, trail: &[] }).is_some()
}
