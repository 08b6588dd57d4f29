//! What the commands print: text that cannot steer a terminal, colour only where it is wanted, and
//! a reader that has gone counts as done.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

/// How a piece of a line looks. Colour is never the only sign: the words say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    Plain,
    /// Stands out.
    Bold,
    /// Of less interest.
    Dim,
    /// As it should be.
    Good,
    /// Not what it should be.
    Warn,
    /// Refused, invalid, failed.
    Bad,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

/// One line. Every piece is made harmless as it is added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Paint, String)>);

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A line of one plain piece.
    pub(crate) fn of(text: impl fmt::Display) -> Self {
        Self::new().text(text)
    }

    pub(crate) fn text(self, text: impl fmt::Display) -> Self {
        self.paint(Paint::Plain, text)
    }

    pub(crate) fn paint(mut self, paint: Paint, text: impl fmt::Display) -> Self {
        self.0.push((paint, harmless(&text.to_string())));
        self
    }

    /// A piece at least `width` characters wide.
    pub(crate) fn column(self, paint: Paint, width: usize, text: impl fmt::Display) -> Self {
        let text = harmless(&text.to_string());
        let gap = width.saturating_sub(text.chars().count());
        self.paint(paint, text).text(" ".repeat(gap))
    }

    fn write(&self, colour: bool) -> String {
        let mut line = String::new();
        for (paint, text) in &self.0 {
            if colour && *paint != Paint::Plain {
                // Writing to a `String` does not fail.
                write!(line, "\u{1b}[{}m{text}\u{1b}[0m", paint.code()).unwrap_or_default();
            } else {
                line.push_str(text);
            }
        }
        line
    }
}

/// `text` without what a terminal would obey or a reader would not see: control characters and
/// those that turn the direction of writing or have no width are shown by their number.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || unseen(c) {
            write!(shown, "\\u{{{:x}}}", u32::from(c)).unwrap_or_default();
        } else {
            shown.push(c);
        }
    }
    shown
}

const fn unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Where a command prints its result.
pub(crate) struct Out {
    to: Box<dyn Write>,
    terminal: bool,
    colour: bool,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Out {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        Self { to: Box::new(io::stdout().lock()), terminal, colour: terminal && colour_wanted() }
    }

    /// Standard error, for what is not the result: questions, progress, errors.
    pub(crate) fn stderr() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { to: Box::new(io::stderr().lock()), terminal, colour: terminal && colour_wanted() }
    }

    /// A person reads it as it appears.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether clap may colour its own pages.
    pub(crate) const fn colour(&self) -> bool {
        self.colour
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let text = line.write(self.colour);
        self.raw(&format!("{}\n", text.trim_end()))
    }

    /// Prints a file or page of our own as it is.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.to
            .write_all(text.as_bytes())
            .and_then(|()| self.to.flush())
            .map_err(|error| Failure::print(&error))
    }

    /// Prints one JSON document on one line.
    pub(crate) fn json(&mut self, item: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(item).map_err(|error| Failure::print(&error.into()))?;
        self.raw(&format!("{}\n", plain_json(&text)))
    }
}

/// `https://no-color.org`: set and not empty.
fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// JSON strings may hold control characters above 0x7e as they are; a terminal obeys those too.
fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(plain, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

/// `18,202`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 stream`, `3 streams`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A line's text, for tests.
#[cfg(test)]
pub(crate) fn plain(line: &Line) -> String {
    line.write(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_wrote_cannot_steer_the_terminal() {
        let hostile = "a\u{1b}[2J\r\n\u{9b}1m\u{202e}b\u{200b}";
        let line = Line::new().paint(Paint::Bad, hostile).write(false);
        assert_eq!(line, "a\\u{1b}[2J\\u{d}\\u{a}\\u{9b}1m\\u{202e}b\\u{200b}");
        let json = plain_json(&serde_json::to_string(hostile).unwrap());
        assert!(json.chars().all(|c| !c.is_control() && !unseen(c)), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn without_colour_a_line_is_its_text() {
        let line = Line::new().paint(Paint::Bad, "refused").text(" x");
        assert_eq!(line.write(false), "refused x");
        assert_eq!(line.write(true), "\u{1b}[31mrefused\u{1b}[0m x");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown: Vec<_> = [0, 999, 1000, 18_202, 1_204_331].map(grouped).into();
        assert_eq!(shown, ["0", "999", "1,000", "18,202", "1,204,331"]);
    }
}
