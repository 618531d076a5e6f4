//! The header of NumPy's `.npy` files (NumPy Enhancement Proposal 1 and `numpy.lib.format`).

use std::path::Path;

use super::Dtype;
use crate::error::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy reads no longer header unless it is told to.
const MAX_HEADER: u64 = 10_000;

/// What a header says.
pub(super) struct Header {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// The byte after it.
    pub end: u64,
}

/// Reads the header of a file of `size` bytes; `read` fills a slice from a byte on.
pub(super) fn read_header(
    path: &Path,
    size: u64,
    read: impl Fn(&mut [u8], u64) -> std::io::Result<()>,
) -> Result<Header> {
    let error = |problem: String| Error::file(path, problem);
    let get = |from: u64, count: u64| -> Result<Vec<u8>> {
        if from + count > size {
            return Err(error(format!("byte {size}: the file ends within its header, which needs {}", from + count)));
        }
        let mut bytes = vec![0; count as usize];
        read(&mut bytes, from).map_err(|e| error(format!("byte {from}: cannot be read: {e}")))?;
        Ok(bytes)
    };
    let foreign = || error("byte 0: this is not a .npy file; write it with numpy.save".into());
    if size < 8 {
        return Err(foreign());
    }
    let start = get(0, 8)?;
    if &start[..6] != MAGIC {
        return Err(foreign());
    }
    let (major, minor) = (start[6], start[7]);
    let (from, length) = match (major, minor) {
        (1, 0) => (10, u64::from(u16::from_le_bytes(get(8, 2)?.try_into().expect("two bytes were read")))),
        (2 | 3, 0) => (12, u64::from(u32::from_le_bytes(get(8, 4)?.try_into().expect("four bytes were read")))),
        _ => {
            return Err(error(format!(
                "byte 6, field 'version': {major}.{minor} is not known; expected 1.0, 2.0, 3.0"
            )));
        }
    };
    if length > MAX_HEADER {
        let problem = format!("byte 8, field 'header length': {length} is more than {MAX_HEADER}; the file is damaged");
        return Err(error(problem));
    }
    let text = get(from, length)?;
    let mut parser = Parser { text: &text, at: 0 };
    let (dtype, shape) = parser.header().map_err(|(field, problem)| {
        let byte = from + parser.at as u64;
        error(format!("byte {byte}, field '{field}': {problem}"))
    })?;
    Ok(Header { dtype, shape, end: from + length })
}

/// Which field is wrong, and how.
type Problem = (&'static str, String);

/// Reads the literal of a Python dictionary with the three keys of a header.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn header(&mut self) -> Result<(Dtype, Vec<usize>), Problem> {
        const DICTIONARY: &str = "header";
        let (mut dtype, mut order, mut shape) = (None, None, None);
        self.expect(b'{', DICTIONARY)?;
        while !self.skip(b'}') {
            let key = self.string(DICTIONARY)?;
            self.expect(b':', DICTIONARY)?;
            let earlier = match key.as_str() {
                "descr" => dtype.replace(self.dtype()?).is_some(),
                "fortran_order" => order.replace(self.row_major()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err((DICTIONARY, format!("the key '{key}' is not known; the file is damaged"))),
            };
            if earlier {
                return Err((DICTIONARY, format!("the key '{key}' stands there twice; the file is damaged")));
            }
            if !self.skip(b',') {
                self.expect(b'}', DICTIONARY)?;
                break;
            }
        }
        self.space();
        if self.at < self.text.len() {
            return Err((DICTIONARY, "there is text after its end; the file is damaged".into()));
        }
        let missing = |key| (key, "it is missing; the file is damaged".to_owned());
        let dtype = dtype.ok_or_else(|| missing("descr"))?;
        let row_major = order.ok_or_else(|| missing("fortran_order"))?;
        let shape: Vec<usize> = shape.ok_or_else(|| missing("shape"))?;
        if !row_major && shape.len() > 1 {
            let advice = "the array is in column-major order; save numpy.ascontiguousarray(array) instead";
            return Err(("fortran_order", advice.into()));
        }
        Ok((dtype, shape))
    }

    fn dtype(&mut self) -> Result<Dtype, Problem> {
        const FIELD: &str = "descr";
        self.space();
        if self.text.get(self.at) == Some(&b'[') {
            return Err((FIELD, "the array has named columns; save each of them as an array of its own".into()));
        }
        let code = self.string(FIELD)?;
        match code.as_str() {
            "<f4" => Ok(Dtype::F32),
            "<f8" => Ok(Dtype::F64),
            "|u1" | "|b1" => Ok(Dtype::U8),
            "<u2" => Ok(Dtype::U16),
            "<u4" => Ok(Dtype::U32),
            "<u8" => Ok(Dtype::U64),
            "|i1" => Ok(Dtype::I8),
            "<i2" => Ok(Dtype::I16),
            "<i4" => Ok(Dtype::I32),
            "<i8" => Ok(Dtype::I64),
            _ if code.starts_with('>') => {
                Err((FIELD, format!("'{code}' is big-endian; save array.astype('<{}') instead", &code[1..])))
            }
            _ => Err((FIELD, format!("'{code}' is no type of number; save array.astype('<f4') instead"))),
        }
    }

    fn row_major(&mut self) -> Result<bool, Problem> {
        self.space();
        for (word, row_major) in [("False", true), ("True", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(row_major);
            }
        }
        Err(("fortran_order", "expected True or False; the file is damaged".into()))
    }

    fn shape(&mut self) -> Result<Vec<usize>, Problem> {
        const FIELD: &str = "shape";
        self.expect(b'(', FIELD)?;
        let mut sizes = Vec::new();
        while !self.skip(b')') {
            self.space();
            let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let text = String::from_utf8_lossy(&self.text[self.at..self.at + digits]);
            let Ok(size) = text.parse() else {
                return Err((FIELD, "expected a number of elements; the file is damaged".into()));
            };
            self.at += digits;
            sizes.push(size);
            if !self.skip(b',') {
                self.expect(b')', FIELD)?;
                break;
            }
        }
        Ok(sizes)
    }

    fn string(&mut self, field: &'static str) -> Result<String, Problem> {
        self.space();
        let rest = &self.text[self.at..];
        let quoted = match rest {
            [quote @ (b'\'' | b'"'), after @ ..] => {
                after.iter().position(|byte| byte == quote).map(|end| &after[..end])
            }
            _ => None,
        };
        let Some(quoted) = quoted else { return Err((field, "expected a quoted text; the file is damaged".into())) };
        self.at += quoted.len() + 2;
        Ok(String::from_utf8_lossy(quoted).into_owned())
    }

    fn expect(&mut self, byte: u8, field: &'static str) -> Result<(), Problem> {
        if self.skip(byte) { Ok(()) } else { Err((field, format!("expected '{}'; the file is damaged", byte as char))) }
    }

    /// Goes past white space and, where it stands there, a byte.
    fn skip(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn space(&mut self) {
        self.at += self.text[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }
}
