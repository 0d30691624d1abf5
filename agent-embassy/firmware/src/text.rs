//! Lines of text of bounded length: words, numbers and digests. By itself, because the language's own
//! formatting is larger than all that is formatted here.

use heapless::Vec;

/// Bytes in the longest line, its end included.
pub const LONGEST: usize = 512;

/// A line that is being made. What goes beyond its length is left out, its end never.
#[derive(Debug, Default)]
pub struct Line(Vec<u8, LONGEST>);

impl Line {
    /// An empty line.
    pub const fn new() -> Line {
        Line(Vec::new())
    }

    /// The line so far, and its end.
    pub fn finished(&mut self) -> &[u8] {
        self.0.truncate(LONGEST - 1);
        let _ = self.0.push(b'\n');
        &self.0
    }

    /// Begins a new line.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A word, with a space before it where it isn't the first.
    pub fn word(&mut self, word: &[u8]) -> &mut Line {
        self.space().raw(word)
    }

    /// A whole number.
    pub fn number(&mut self, number: i64) -> &mut Line {
        self.space().decimal(number)
    }

    /// Bytes in hexadecimal.
    pub fn hexadecimal(&mut self, bytes: &[u8]) -> &mut Line {
        self.space();
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                self.raw(&[if digit < 10 { b'0' + digit } else { b'a' + (digit - 10) }]);
            }
        }
        self
    }

    /// A name and a word.
    pub fn named(&mut self, name: &str, word: &str) -> &mut Line {
        self.name(name).raw(word.as_bytes())
    }

    /// A name and a whole number, or nothing.
    pub fn counted(&mut self, name: &str, number: Option<i64>) -> &mut Line {
        match number {
            Some(number) => self.name(name).decimal(number),
            None => self.named(name, "-"),
        }
    }

    fn name(&mut self, name: &str) -> &mut Line {
        self.word(name.as_bytes()).raw(b"=")
    }

    fn space(&mut self) -> &mut Line {
        if self.0.is_empty() { self } else { self.raw(b" ") }
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Line {
        for byte in bytes {
            let _ = self.0.push(*byte);
        }
        self
    }

    fn decimal(&mut self, number: i64) -> &mut Line {
        if number < 0 {
            self.raw(b"-");
        }
        let mut left = number.unsigned_abs();
        let mut digits: Vec<u8, 20> = Vec::new();
        loop {
            let _ = digits.push(b'0' + (left % 10) as u8);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        for digit in digits.iter().rev() {
            self.raw(&[*digit]);
        }
        self
    }
}
