//! Headers of FITS files: cards, and values that different readers would take differently.

use std::io::{Read, Seek, SeekFrom};

/// Block size of a FITS file in bytes.
/// Headers and data are padded to a multiple of it.
pub(super) const BLOCK: usize = 2880;
/// Length of a header line (card) in bytes.
const CARD: usize = 80;
/// Upper limit for the length of a header in blocks.
/// A longer one without END is treated as damaged.
const MOST_BLOCKS: usize = 1000;

/// Keywords on which the pixels depend, besides NAXISn.
const DECISIVE: [&str; 7] = [
    "BITPIX", "NAXIS", "BSCALE", "BZERO", "BLANK", "PCOUNT", "GCOUNT",
];

/// One line of a header.
#[derive(Debug)]
pub(super) struct Card(String);

impl Card {
    /// The line.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    fn keyword(&self) -> &str {
        self.part(0, 8).trim_end()
    }

    /// Everything from column `from` to column `to`, counted in characters from 0.
    fn part(&self, from: usize, to: usize) -> &str {
        let at = |column: usize| {
            let mut characters = self.0.char_indices().skip(column);
            characters.next().map_or(self.0.len(), |(index, _)| index)
        };
        &self.0[at(from)..at(to)]
    }

    /// Whether it has a value: `= ` in columns 9 and 10.
    fn has_value(&self) -> bool {
        self.part(8, 10) == "= "
    }

    /// The value as it stands, and the comment.
    fn split(&self) -> (&str, &str) {
        let rest = self.part(10, CARD).trim_start();
        let Some(quoted) = rest.strip_prefix('\'') else {
            return rest.split_once('/').unwrap_or((rest, ""));
        };
        // Two quotes in a string stand for one.
        let mut from = 0;
        let end = loop {
            match quoted[from..].find('\'') {
                Some(at) if quoted[from + at + 1..].starts_with('\'') => from += at + 2,
                Some(at) => break from + at,
                None => break quoted.len(),
            }
        };
        let comment = quoted.get(end + 1..).unwrap_or("");
        (&quoted[..end], comment.trim_start().trim_start_matches('/'))
    }

    /// The value without quotes and the blanks at its end.
    fn value(&self) -> &str {
        self.split().0.trim_end()
    }

    /// The value of a number: a whole string, or a word, after which a comment may follow without a slash.
    fn number(&self) -> &str {
        let is_text = self.part(10, CARD).trim_start().starts_with('\'');
        match is_text {
            true => self.value().trim(),
            false => self.value().split_whitespace().next().unwrap_or_default(),
        }
    }

    /// The comment.
    pub(super) fn comment(&self) -> &str {
        self.split().1.trim()
    }
}

/// The cards of one header, in order.
#[derive(Debug)]
pub(super) struct Header(Vec<Card>);

impl Header {
    /// Reads blocks up to and including the one with END, and counts their bytes.
    pub(super) fn read(file: &mut impl Read) -> Result<(Self, u64), String> {
        let mut cards = Vec::new();
        let mut block = [0; BLOCK];
        for blocks in 1..=MOST_BLOCKS {
            file.read_exact(&mut block)
                .map_err(|_| "its FITS header is cut short: it has no END".to_owned())?;
            for card in block.chunks_exact(CARD) {
                // Comments may hold bytes that are not ASCII; as Latin-1, every byte is a character.
                let card = Card(card.iter().copied().map(char::from).collect());
                if card.keyword() == "END" {
                    return Ok((Self(cards), (blocks * BLOCK) as u64));
                }
                cards.push(card);
            }
        }
        Err(format!(
            "its FITS header has no END in {MOST_BLOCKS} blocks"
        ))
    }

    /// Whether an extension begins at `position`.
    pub(super) fn begins(file: &mut (impl Read + Seek), position: u64) -> bool {
        let mut start = [0; 8];
        file.seek(SeekFrom::Start(position)).is_ok()
            && file.read_exact(&mut start).is_ok()
            && &start == b"XTENSION"
    }

    /// Refuses cards that readers take differently: repeated, in lower case, or without the blank after `=`.
    ///
    /// Only cards on which the pixels depend count.
    pub(super) fn refuse_doubts(&self) -> Result<(), String> {
        let decisive = |keyword: &str| {
            DECISIVE.contains(&keyword)
                || keyword.strip_prefix("NAXIS").is_some_and(|axis| {
                    !axis.is_empty() && axis.bytes().all(|digit| digit.is_ascii_digit())
                })
        };
        let mut seen: Vec<&Card> = Vec::new();
        for card in &self.0 {
            let keyword = card.keyword();
            // Without a blank after it, `=` may also follow the keyword directly.
            let (before, _) = card.text().split_once('=').unwrap_or((keyword, ""));
            let name = before.trim().to_ascii_uppercase();
            if !decisive(&name) || (!card.has_value() && !card.text().contains('=')) {
                continue;
            }
            let shown = card.text().trim_end();
            if !card.has_value() {
                return Err(format!(
                    "its card `{shown}` lacks `= ` in columns 9 and 10: some programs use it and others ignore it"
                ));
            }
            if keyword != name {
                return Err(format!(
                    "its card `{shown}` has a keyword in lower case: some programs use it and others ignore it"
                ));
            }
            if let Some(first) = seen.iter().find(|first| first.keyword() == keyword)
                && first.value() != card.value()
            {
                return Err(format!(
                    "it has {keyword} twice, as {} and as {}: programs differ in which they use",
                    first.value(),
                    card.value()
                ));
            }
            seen.push(card);
        }
        Ok(())
    }

    /// The first card of a keyword, in upper or lower case.
    pub(super) fn find(&self, keyword: &str) -> Option<&Card> {
        let mut cards = self.0.iter();
        cards.find(|card| card.has_value() && card.keyword().eq_ignore_ascii_case(keyword))
    }

    /// The value of a keyword as text.
    pub(super) fn text(&self, keyword: &str) -> Option<String> {
        self.find(keyword).map(|card| card.value().to_owned())
    }

    /// The value of a keyword as a number.
    ///
    /// # Errors
    /// If the value is missing or no number.
    pub(super) fn number(&self, keyword: &str) -> Result<Option<f64>, String> {
        self.parsed(keyword, |word| {
            // FORTRAN writes exponents with a D.
            word.replace(['D', 'd'], "E").parse().ok()
        })
    }

    /// The value of a keyword as an integer.
    ///
    /// # Errors
    /// If the value is missing or no integer.
    pub(super) fn integer(&self, keyword: &str) -> Result<Option<i64>, String> {
        self.parsed(keyword, |word| word.parse().ok())
    }

    fn parsed<T>(
        &self,
        keyword: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(card) = self.find(keyword) else {
            return Ok(None);
        };
        match parse(card.number()) {
            Some(value) => Ok(Some(value)),
            None => Err(format!(
                "its card `{}` has no number as its value",
                card.text().trim_end()
            )),
        }
    }

    fn extent(&self, keyword: &str) -> Option<u64> {
        let value = self.integer(keyword).ok()??;
        u64::try_from(value).ok()
    }

    /// Extents NAXIS1, NAXIS2, …: fastest-varying axis first.
    pub(super) fn axes(&self) -> Option<Vec<u64>> {
        let count = self.extent("NAXIS")?;
        (1..=count.min(999))
            .map(|axis| self.extent(&format!("NAXIS{axis}")))
            .collect()
    }

    /// Bytes of the data unit that follows this header, before padding.
    pub(super) fn data_bytes(&self) -> Option<u64> {
        let axes = self.axes()?;
        let bits = self.integer("BITPIX").ok()??.unsigned_abs();
        let parameters = self.extent("PCOUNT").unwrap_or(0);
        let groups = self.extent("GCOUNT").unwrap_or(1);
        let elements = axes
            .iter()
            .try_fold(u64::from(!axes.is_empty()), |product, &extent| {
                product.checked_mul(extent)
            })?;
        elements
            .checked_add(parameters)?
            .checked_mul(groups)?
            .checked_mul(bits / 8)
    }
}
