//! Walks the bytes of one Avro value along its [`Shape`]. Every byte must belong to the value, and every value must be there:
//! no value is made up where the bytes end, and no bytes may be left over.
//!
//! A walk takes time linear to the number of bytes, because values that take no bytes are stepped over, however many there are. It
//! allocates no more than the bytes bound, and recurses no deeper than the shape.

use super::shape::Shape;

/// A way in which bytes do not match their schema. It never holds any of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The value goes on where the bytes end.
    #[error("it is truncated")]
    Truncated,
    /// The bytes go on where the value ends.
    #[error("bytes are left over after the value")]
    LeftOver,
    /// A number has more than 64 bits, or more than 32 where the schema says int.
    #[error("a number is out of range")]
    Number,
    /// A length is below zero.
    #[error("a length is negative")]
    Length,
    /// A boolean is neither 0 nor 1.
    #[error("a boolean is neither 0 nor 1")]
    Boolean,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A branch has an index that the union doesn't have.
    #[error("a union has no such branch")]
    Branch,
    /// A symbol has an index that the enum doesn't have.
    #[error("an enum has no such symbol")]
    Symbol,
    /// A block of an array or a map has another size than it says.
    #[error("a block is not as long as it says")]
    Block,
    /// The record has more values than can be shown as JSON. This is never said of a command, because values that are skipped take no
    /// memory.
    #[error("it holds too many values")]
    TooMany,
}

/// The rest of a body, from the next byte to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Ends the walk.
    ///
    /// # Errors
    /// Bytes are left over.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::LeftOver) }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads a `long`: zigzag, 7 bits a byte, least significant first.
    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        const LAST_SHIFT: u32 = 63;
        let mut zigzag = 0_u64;
        for (i, byte) in (0_u32..).zip(self.0) {
            let (bits, shift) = (u64::from(byte & 0x7f), 7 * i);
            if shift > LAST_SHIFT || (shift == LAST_SHIFT && bits > 1) {
                return Err(Malformed::Number);
            }
            zigzag |= bits << shift;
            if byte & 0x80 == 0 {
                self.0 = &self.0[i as usize + 1..];
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err(Malformed::Truncated)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        self.long()?.try_into().map_err(|_| Malformed::Number)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed::Boolean),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.long()?).map_err(|_| Malformed::Length)?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Utf8)
    }

    /// Reads the number of a union's branch, and returns the branch.
    pub(super) fn branch<'s, T>(&mut self, branches: &'s [T]) -> Result<&'s T, Malformed> {
        let index = usize::try_from(self.long()?).map_err(|_| Malformed::Branch)?;
        branches.get(index).ok_or(Malformed::Branch)
    }

    pub(super) fn symbol<'s>(&mut self, symbols: &'s [Box<str>]) -> Result<&'s str, Malformed> {
        let index = usize::try_from(self.int()?).map_err(|_| Malformed::Symbol)?;
        symbols.get(index).map(AsRef::as_ref).ok_or(Malformed::Symbol)
    }

    /// Reads the head of the next block of an array or a map; returns `None` if there are no more blocks. After the block's items
    /// [`Body::end_block`] must follow.
    pub(super) fn block(&mut self) -> Result<Option<Block>, Malformed> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let size = if count < 0 { Some(self.long()?) } else { None };
        Ok(Some(Block { count: count.unsigned_abs(), size, before: self.0.len() }))
    }

    /// Checks the block's size. A writer may say how many bytes a block has, for readers that want to jump over it; then it must be true.
    pub(super) fn end_block(&self, block: &Block) -> Result<(), Malformed> {
        let read = block.before - self.0.len();
        if block.size.is_none_or(|size| usize::try_from(size) == Ok(read)) { Ok(()) } else { Err(Malformed::Block) }
    }

    /// Reads a value that nobody wants, as strictly as any other.
    pub(super) fn skip(&mut self, shape: &Shape) -> Result<(), Malformed> {
        match shape {
            Shape::Null => Ok(()),
            Shape::Boolean => self.boolean().map(drop),
            Shape::Int => self.int().map(drop),
            Shape::Long => self.long().map(drop),
            Shape::Float => self.take(size_of::<f32>()).map(drop),
            Shape::Double => self.take(size_of::<f64>()).map(drop),
            Shape::Bytes => self.bytes().map(drop),
            Shape::String => self.text().map(drop),
            Shape::Fixed(size) => self.take(*size).map(drop),
            Shape::Enum(symbols) => self.symbol(symbols).map(drop),
            Shape::Array(item) => self
                .skip_blocks(|body, count| if item.is_empty() { Ok(()) } else { (0..count).try_for_each(|_| body.skip(item)) }),
            Shape::Map(value) => self.skip_blocks(|body, count| {
                (0..count).try_for_each(|_| {
                    body.text()?;
                    body.skip(value)
                })
            }),
            Shape::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch)
            }
            Shape::Record(record) => record.occupied.iter().try_for_each(|field| self.skip(field)),
        }
    }

    fn skip_blocks(&mut self, items: impl Fn(&mut Self, u64) -> Result<(), Malformed>) -> Result<(), Malformed> {
        while let Some(block) = self.block()? {
            items(self, block.count)?;
            self.end_block(&block)?;
        }
        Ok(())
    }
}

/// The head of a block.
pub(super) struct Block {
    /// How many items the block has.
    pub count: u64,
    /// How many bytes the block has, if the writer says so.
    size: Option<i64>,
    /// How many bytes of the body were left before the block's first item.
    before: usize,
}
