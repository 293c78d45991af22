//! Forms: `multipart/form-data` and `application/x-www-form-urlencoded`, bytes in and fields out.

mod multipart;
mod options;
mod urlencoded;

use thiserror::Error;

pub use multipart::Part;
pub use options::Options;

use multipart::{Multipart, Piece};
use urlencoded::Urlencoded;

/// What a form may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormLimits {
    /// Parts with a filename.
    pub files: u64,
    /// Other parts, or pairs of an urlencoded form.
    pub fields: u64,
    /// Bytes of one field that is no file.
    pub part_size: u64,
}

impl Default for FormLimits {
    fn default() -> Self {
        Self { files: 1000, fields: 1000, part_size: 1024 * 1024 }
    }
}

/// Why a form was refused. Clients of FastAPI know these texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FormError {
    /// Against the grammar; what exactly is for us.
    #[error("Invalid multipart data.")]
    Malformed(&'static str),
    /// The content type has no `boundary`.
    #[error("Missing boundary in multipart.")]
    MissingBoundary,
    /// A part without a name.
    #[error("The Content-Disposition header field \"name\" must be provided.")]
    MissingName,
    /// More than [`FormLimits::files`].
    #[error("Too many files. Maximum number of files is {0}.")]
    TooManyFiles(u64),
    /// More than [`FormLimits::fields`].
    #[error("Too many fields. Maximum number of fields is {0}.")]
    TooManyFields(u64),
    /// A part that is no file above [`FormLimits::part_size`].
    #[error("Part exceeded maximum size of {}KB.", .0 / 1024)]
    PartTooBig(u64),
    /// A pair of an urlencoded form above [`FormLimits::part_size`].
    #[error("Field exceeded maximum size of {}KB.", .0 / 1024)]
    FieldTooBig(u64),
}

/// What a form holds, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A pair of an urlencoded form, decoded.
    Pair(&'a str, &'a str),
    /// A field of a multipart form and its value, in the form's charset.
    Field(Part, Vec<u8>),
    /// A file begins.
    File(Part),
    /// A piece of the file that began last.
    Data(&'a [u8]),
    /// The file is complete. A file that never is was cut off, and does not count.
    End,
}

/// A form that is arriving.
#[derive(Debug)]
pub struct Form {
    grammar: Grammar,
    limits: FormLimits,
    charset: Vec<u8>,
    files: u64,
    fields: u64,
    /// The field that is arriving; `None` within a file.
    field: Option<(Part, Vec<u8>)>,
}

#[derive(Debug)]
enum Grammar {
    Multipart(Box<Multipart>),
    Urlencoded(Urlencoded),
}

impl Form {
    /// A form of this content type; `None` if it is none.
    ///
    /// # Errors
    /// A multipart form whose boundary is missing or impossible.
    pub fn new(content_type: &[u8], limits: FormLimits) -> Result<Option<Self>, FormError> {
        let options = Options::parse(content_type);
        let grammar = match options.value.as_slice() {
            b"multipart/form-data" => {
                let boundary = options.get(b"boundary").ok_or(FormError::MissingBoundary)?;
                Grammar::Multipart(Box::new(Multipart::new(boundary)?))
            }
            b"application/x-www-form-urlencoded" => Grammar::Urlencoded(Urlencoded::default()),
            _ => return Ok(None),
        };
        let charset = options.get(b"charset").unwrap_or(b"utf-8").to_vec();
        Ok(Some(Self { grammar, limits, charset, files: 0, fields: 0, field: None }))
    }

    /// The charset of a multipart form's names and values, as the client wrote it.
    #[must_use]
    pub fn charset(&self) -> &[u8] {
        &self.charset
    }

    /// Takes the next bytes and gives what they hold to `on`.
    ///
    /// # Errors
    /// The first thing that is wrong with the form, or the first error of `on`; the form is of no
    /// use afterwards.
    pub fn feed<E: From<FormError>>(
        &mut self,
        data: &[u8],
        mut on: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { grammar, limits, files, fields, field, .. } = self;
        match grammar {
            Grammar::Urlencoded(pairs) => {
                pairs.feed(data, limits, &mut |name, value| on(Event::Pair(name, value)))
            }
            Grammar::Multipart(parts) => parts.feed(data, &mut |piece| match piece {
                Piece::Begin(part) if part.filename.is_some() => {
                    *files += 1;
                    if *files > limits.files {
                        return Err(FormError::TooManyFiles(limits.files).into());
                    }
                    on(Event::File(part))
                }
                Piece::Begin(part) => {
                    *fields += 1;
                    if *fields > limits.fields {
                        return Err(FormError::TooManyFields(limits.fields).into());
                    }
                    *field = Some((part, Vec::new()));
                    Ok(())
                }
                Piece::Data(piece) => match field {
                    Some((_, value)) if (value.len() + piece.len()) as u64 > limits.part_size => {
                        Err(FormError::PartTooBig(limits.part_size).into())
                    }
                    Some((_, value)) => {
                        value.extend_from_slice(piece);
                        Ok(())
                    }
                    None => on(Event::Data(piece)),
                },
                Piece::End => match field.take() {
                    Some((part, value)) => on(Event::Field(part, value)),
                    None => on(Event::End),
                },
            }),
        }
    }

    /// The body is complete. A multipart form that was cut off ends with its last whole part.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn finish<E: From<FormError>>(
        &mut self,
        mut on: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.grammar {
            Grammar::Urlencoded(pairs) => {
                pairs.finish(&self.limits, &mut |name, value| on(Event::Pair(name, value)))
            }
            Grammar::Multipart(_) => Ok(()),
        }
    }
}
