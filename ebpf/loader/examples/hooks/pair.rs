//! Pairs of figures, taken by turns.

use anyhow::Result;

use crate::stage::Worker;

/// What is measured, and which way is better.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    /// Less is better; at most 10 µs may be added.
    Lower(&'static str),
    /// More is better; at most 2 % may be lost.
    Higher(&'static str),
}

/// What was measured without the programs and with them, round by round.
pub(crate) struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    /// Runs one command after the other, as often as there are rounds, and each first every other time; one round
    /// more, for everything to be warm, is thrown away.
    pub(crate) fn measure(
        rounds: usize,
        without: (&Worker, &str),
        with: (&Worker, &str),
    ) -> Result<Self> {
        let mut pairs = Vec::with_capacity(rounds);
        for round in 0..=rounds {
            let pair = if round % 2 == 0 {
                let first = without.0.run(without.1)?;
                (first, with.0.run(with.1)?)
            } else {
                let first = with.0.run(with.1)?;
                (without.0.run(without.1)?, first)
            };
            if round > 0 {
                pairs.push(pair);
            }
        }
        Ok(Self(pairs))
    }

    /// A line of the table; `differ` says the difference of a pair and whether it is within the bar.
    ///
    /// The difference is the median over the pairs, not of the medians: what slows both of a pair is none.
    pub(crate) fn line(
        &self,
        measure: Measure,
        differ: impl Fn(f64, f64) -> (String, bool),
    ) -> String {
        let (name, bar) = match measure {
            Measure::Lower(name) => (name, "≤ 10 µs added"),
            Measure::Higher(name) => (name, "≤ 2 % lost"),
        };
        let without: Vec<f64> = self.0.iter().map(|pair| pair.0).collect();
        let with: Vec<f64> = self.0.iter().map(|pair| pair.1).collect();
        let mut by_difference = self.0.clone();
        let key = |(without, with): &(f64, f64)| match measure {
            Measure::Lower(_) => with - without,
            Measure::Higher(_) => with / without,
        };
        by_difference.sort_by(|one, other| key(one).total_cmp(&key(other)));
        let at = |quarter: usize| {
            let pair = by_difference.get((by_difference.len() - 1) * quarter / 4);
            pair.map_or_else(|| (String::new(), false), |(without, with)| differ(*with, *without))
        };
        let (median, holds) = at(2);
        let verdict = if holds { "holds" } else { "missed" };
        format!(
            "| {name} | {} | {} | {median} ({} … {}) | {bar}: {verdict} |",
            spread(without),
            spread(with),
            at(1).0,
            at(3).0
        )
    }
}

/// The median and the quartiles.
fn spread(mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let figure = figures.get((figures.len() - 1) * quarter / 4).copied().unwrap_or(f64::NAN);
        if figure >= 1000.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
    };
    format!("{} ({} … {})", at(2), at(1), at(3))
}
