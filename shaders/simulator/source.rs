//! A shader's text, read by naga.

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, Span};

/// A shader that was read and found valid.
pub struct Source {
    /// The file's.
    pub name: String,
    pub module: Module,
    pub info: ModuleInfo,
    /// Where lines begin.
    lines: Vec<usize>,
}

impl Source {
    /// # Errors
    /// If it is not valid.
    pub fn parse(name: &str, text: &str) -> Result<Source, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|error| {
            format!("shader {name} is not valid\n{}", error.emit_to_string(text))
        })?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .map_err(|error| {
                format!("shader {name} is not valid\n{}", error.emit_to_string(text))
            })?;
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        let name = if name.ends_with(".wgsl") { name.into() } else { format!("{name}.wgsl") };
        Ok(Source { name, module, info, lines })
    }

    pub fn line(&self, span: Span) -> u32 {
        let at = span.to_range().map_or(0, |range| range.start);
        self.lines.partition_point(|begin| *begin <= at) as u32
    }
}
