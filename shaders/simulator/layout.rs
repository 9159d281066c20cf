//! How values lie: one component after another in registers, and with WGSL's gaps in memory.

use naga::{ArraySize, Handle, Module, ScalarKind, Type, TypeInner, VectorSize};

/// What the simulator does not know.
pub type Unsupported = String;
pub type Known<T> = Result<T, Unsupported>;

/// Where something lies: in registers, or in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Registers,
    Memory,
}

/// What a composite consists of: so many of a type, which begin so many words apart.
pub struct Elements {
    /// `None` where the binding says.
    pub count: Option<u32>,
    pub stride: u32,
    pub of: TypeInner,
}

fn inner(module: &Module, ty: Handle<Type>) -> &TypeInner {
    &module.types[ty].inner
}

/// The words of a column in memory.
fn column(rows: VectorSize) -> u32 {
    if rows == VectorSize::Bi { 2 } else { 4 }
}

impl Layout {
    /// The words that a value takes; for an array that a binding holds, none.
    pub fn words(self, module: &Module, ty: &TypeInner) -> Known<u32> {
        Ok(match ty {
            TypeInner::Scalar(scalar) => match (scalar.kind, scalar.width) {
                (ScalarKind::Bool, _) if self == Layout::Memory => {
                    return Err("truth values in memory".into());
                }
                (ScalarKind::Bool, _) | (_, 4) => 1,
                _ => return Err(format!("numbers of {} bytes", scalar.width)),
            },
            TypeInner::Vector { size, scalar } => {
                self.words(module, &TypeInner::Scalar(*scalar))? * *size as u32
            }
            TypeInner::Matrix { .. } | TypeInner::Array { .. } => {
                let Elements { count, stride, .. } = self.elements(module, ty)?;
                count.unwrap_or(0) * stride
            }
            TypeInner::Struct { members, span } => match self {
                Layout::Memory => span / 4,
                Layout::Registers => members.iter().try_fold(0, |sum, member| {
                    Known::Ok(sum + self.words(module, inner(module, member.ty))?)
                })?,
            },
            other => return Err(format!("values of type {other:?}")),
        })
    }

    /// What a vector, matrix or array consists of.
    pub fn elements(self, module: &Module, ty: &TypeInner) -> Known<Elements> {
        Ok(match *ty {
            TypeInner::Vector { size, scalar } => {
                Elements { count: Some(size as u32), stride: 1, of: TypeInner::Scalar(scalar) }
            }
            TypeInner::Matrix { columns, rows, scalar } => {
                let stride = if self == Layout::Memory { column(rows) } else { rows as u32 };
                let of = TypeInner::Vector { size: rows, scalar };
                Elements { count: Some(columns as u32), stride, of }
            }
            TypeInner::Array { base, size, stride } => {
                let of = inner(module, base).clone();
                let words = self.words(module, &of)?;
                let stride = if self == Layout::Memory { stride / 4 } else { words };
                let count = match size {
                    ArraySize::Constant(count) => Some(count.get()),
                    ArraySize::Dynamic => None,
                    ArraySize::Pending(_) => return Err("arrays of a size to be set".into()),
                };
                Elements { count, stride, of }
            }
            ref other => return Err(format!("an index into {other:?}")),
        })
    }

    /// Member `index` of a structure: the words before it, and its type.
    pub fn member(self, module: &Module, ty: &TypeInner, index: u32) -> Known<(u32, TypeInner)> {
        let TypeInner::Struct { members, .. } = ty else {
            return Err(format!("a member of {ty:?}"));
        };
        let member = &members[index as usize];
        let offset = match self {
            Layout::Memory => member.offset / 4,
            Layout::Registers => members[..index as usize].iter().try_fold(0, |sum, member| {
                Known::Ok(sum + self.words(module, inner(module, member.ty))?)
            })?,
        };
        Ok((offset, inner(module, member.ty).clone()))
    }

    /// The words where the components of a value are, in the order of registers.
    pub fn components(self, module: &Module, ty: &TypeInner) -> Known<Vec<u32>> {
        let mut words = Vec::new();
        self.add_components(module, ty, 0, &mut words)?;
        Ok(words)
    }

    fn add_components(
        self,
        module: &Module,
        ty: &TypeInner,
        start: u32,
        words: &mut Vec<u32>,
    ) -> Known<()> {
        match ty {
            TypeInner::Scalar(_) => {
                self.words(module, ty)?;
                words.push(start);
            }
            TypeInner::Struct { members, .. } => {
                for index in 0..members.len() as u32 {
                    let (offset, of) = self.member(module, ty, index)?;
                    self.add_components(module, &of, start + offset, words)?;
                }
            }
            _ => {
                let Elements { count, stride, of } = self.elements(module, ty)?;
                let count = count.ok_or("an array of unknown length as a value")?;
                for index in 0..count {
                    self.add_components(module, &of, start + index * stride, words)?;
                }
            }
        }
        Ok(())
    }
}

/// How many components a value has.
pub fn count(module: &Module, ty: &TypeInner) -> Known<u32> {
    Layout::Registers.words(module, ty)
}
