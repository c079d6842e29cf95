//! How long a condition must hold: so many windows in a row, so many of the last ones, or a time.

use std::fmt;

use crate::event::Span;

/// Most windows that a `for` may speak of: the alert keeps one byte for each of them.
pub const MOST_WINDOWS: u32 = 100;

/// Longest duration that a `for` may ask for; beyond it an alert would come too late to be of use.
pub const LONGEST_HOLD: Span = Span(90 * Span::DAY.0);

/// The `for` of a tier or of the resolve condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `need` of the last `of` judged windows; with both equal, `need` windows in a row.
    Windows {
        /// Windows in which the condition must hold, at least 1.
        need: u32,
        /// Windows that are looked at, at least `need`.
        of: u32,
    },
    /// From the end of the first window in which the condition holds to the end of the last, without a break.
    Time(Span),
}

impl Hold {
    /// One window: what holds where nothing is said.
    pub const ONE_WINDOW: Hold = Hold::Windows { need: 1, of: 1 };

    /// Reads `2 windows`, `3 of 4 windows` or a duration such as `15m`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Hold, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = |word: &str| word.parse::<u32>().map_err(|_| format!("'{text}' should begin with a number of windows, like 2 windows"));
        let (need, of) = match words.as_slice() {
            [need, "window" | "windows"] => (count(need)?, count(need)?),
            [need, "of", of, "window" | "windows"] => (count(need)?, count(of)?),
            [duration] => {
                let span = Span::parse(duration)
                    .map_err(|_| format!("'{text}' is no time to hold; write 2 windows, 3 of 4 windows, or a duration like 15m"))?;
                if span > LONGEST_HOLD {
                    return Err(format!("'{text}' is longer than {LONGEST_HOLD}"));
                }
                return Ok(Hold::Time(span));
            }
            _ => return Err(format!("'{text}' is no time to hold; write 2 windows, 3 of 4 windows, or a duration like 15m")),
        };
        if need == 0 {
            return Err(format!("'{text}' holds for no window at all"));
        }
        if need > of {
            return Err(format!("'{text}' asks for more windows than it looks at"));
        }
        if of > MOST_WINDOWS {
            return Err(format!("'{text}' looks at more than {MOST_WINDOWS} windows"));
        }
        Ok(Hold::Windows { need, of })
    }

    /// How many windows are looked at, for a `for` in windows.
    #[must_use]
    pub fn windows(self) -> u32 {
        match self {
            Hold::Windows { of, .. } => of,
            Hold::Time(_) => 0,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Windows { need: 1, of: 1 } => f.write_str("1 window"),
            Hold::Windows { need, of } if need == of => write!(f, "{need} windows"),
            Hold::Windows { need, of } => write!(f, "{need} of {of} windows"),
            Hold::Time(span) => write!(f, "{span}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        assert_eq!(Hold::parse("2 windows"), Ok(Hold::Windows { need: 2, of: 2 }));
        assert_eq!(Hold::parse("1 windows"), Ok(Hold::ONE_WINDOW));
        assert_eq!(Hold::parse("3 of  4 windows"), Ok(Hold::Windows { need: 3, of: 4 }));
        assert_eq!(Hold::parse("15m"), Ok(Hold::Time(Span(900_000))));
        assert_eq!(Hold::parse("3 of 4 windows").unwrap().to_string(), "3 of 4 windows");
        assert_eq!(Hold::parse("0s"), Ok(Hold::Time(Span(0))));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for bad in ["", "2", "windows", "0 windows", "5 of 4 windows", "101 windows", "-1 windows", "2 hours", "91d", "3 of windows"] {
            assert!(Hold::parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
