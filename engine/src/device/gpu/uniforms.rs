//! The scalars that a shader is given, by the names that they have in its uniform structure.

/// A scalar in a shader's uniform structure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Word {
    /// A whole number, or 0 and 1 for false and true.
    U32(u32),
    /// A real number.
    F32(f32),
}

impl Word {
    pub(super) fn bits(self) -> u32 {
        match self {
            Word::U32(value) => value,
            Word::F32(value) => value.to_bits(),
        }
    }
}

impl From<u32> for Word {
    fn from(value: u32) -> Word {
        Word::U32(value)
    }
}

impl From<usize> for Word {
    fn from(value: usize) -> Word {
        let Ok(word) = u32::try_from(value) else {
            panic!("{value} is more than the 32 bits hold that shaders count in");
        };
        Word::U32(word)
    }
}

impl From<bool> for Word {
    fn from(value: bool) -> Word {
        Word::U32(u32::from(value))
    }
}

impl From<f32> for Word {
    fn from(value: f32) -> Word {
        Word::F32(value)
    }
}

/// A member of a uniform structure: its name and its value.
pub type Uniform = (&'static str, Word);

/// The members of a shader's uniform structure, by name and in their order, but for `first_group`,
/// which comes first in each and is filled in by the [`Recorder`](crate::gpu::Recorder). A variable
/// of a member's name needs no more than that.
///
/// ```
/// use neutreno_engine::gpu::Word;
/// use neutreno_engine::uniforms;
/// let rows = 5_usize;
/// let members = uniforms! { rows, epsilon: 1e-5_f32 };
/// assert_eq!(members, &[("rows", Word::U32(5)), ("epsilon", Word::F32(1e-5))]);
/// ```
#[macro_export]
macro_rules! uniforms {
    (@member $name:ident) => { (stringify!($name), $crate::gpu::Word::from($name)) };
    (@member $name:ident $value:expr) => { (stringify!($name), $crate::gpu::Word::from($value)) };
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        &[$($crate::uniforms!(@member $name $($value)?)),*]
    };
}
