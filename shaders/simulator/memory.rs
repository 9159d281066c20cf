//! The memory that lanes share, with its shadow.

use super::program::{Program, Space};
use super::shadow::{Cell, Now};
use neutreno_engine::device::Execution;

/// The memory of a dispatch.
pub struct Memory<'m> {
    /// Every buffer that is bound, once; then the workgroup's.
    buffers: Vec<&'m mut [u32]>,
    workgroup: Vec<u32>,
    /// Where each variable of the program is.
    places: Vec<Place>,
    /// For each variable that can be written.
    shadows: Vec<Vec<Cell>>,
    /// Of workgroup memory, and of storage.
    now: [Now; 2],
    /// The epochs of storage in which workgroups began.
    begins: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Place {
    /// `None` for workgroup memory.
    buffer: Option<usize>,
    start: usize,
    size: u32,
}

impl<'m> Memory<'m> {
    /// # Errors
    /// If a binding is missing, or not what the shader takes.
    pub fn new(program: &Program, execution: Execution<'m>) -> Result<Memory<'m>, String> {
        let (mut places, mut shadows, mut words) = (Vec::new(), Vec::new(), 0);
        for variable in &program.variables {
            let (place, is_written) = match variable.space {
                Space::Workgroup { start } => {
                    words = words.max(start + variable.least);
                    (Place { buffer: None, start: start as usize, size: variable.least }, true)
                }
                Space::Storage { binding, writes } => {
                    let name = &variable.name;
                    let bound = (binding as usize).checked_sub(1);
                    let bound = bound.and_then(|index| execution.bindings.get(index));
                    let bound = bound.ok_or_else(|| format!("nothing is bound for {name}"))?;
                    if bound.size < variable.least as usize {
                        return Err(format!("{} words for {name} are too few", bound.size));
                    }
                    if writes != bound.is_output {
                        return Err(format!("{name}: what is written must be an output"));
                    }
                    let (buffer, start) = (Some(bound.buffer), bound.offset);
                    (Place { buffer, start, size: bound.size as u32 }, writes)
                }
            };
            places.push(place);
            let cells = if is_written { place.size as usize } else { 0 };
            shadows.push(vec![Cell::default(); cells]);
        }
        let now = [Now { epoch: 0, begin: 0 }; 2];
        let workgroup = vec![0; words as usize];
        let buffers = execution.memory;
        Ok(Memory { buffers, workgroup, places, shadows, now, begins: Vec::new() })
    }

    /// A workgroup begins: its own memory is unwritten, and nothing orders it and the others.
    pub fn begin_group(&mut self) {
        for now in &mut self.now {
            now.epoch += 1;
            now.begin = now.epoch;
        }
        self.begins.push(self.now[1].begin);
        for (place, cells) in self.places.iter().zip(&mut self.shadows) {
            if place.buffer.is_none() {
                cells.fill(Cell::default());
            }
        }
    }

    pub fn barrier(&mut self, workgroup: bool, storage: bool) {
        self.now[0].epoch += u32::from(workgroup);
        self.now[1].epoch += u32::from(storage);
    }

    /// The words of a variable.
    pub fn size(&self, variable: u32) -> u32 {
        self.places[variable as usize].size
    }

    pub fn is_workgroup(&self, variable: u32) -> bool {
        self.places[variable as usize].buffer.is_none()
    }

    /// Where a variable begins in its buffer or in the workgroup's memory.
    pub fn start(&self, variable: u32) -> u32 {
        self.places[variable as usize].start as u32
    }

    /// The words of a variable, its shadow if it can be written, and the present of its memory.
    pub fn parts(&mut self, variable: u32) -> (&mut [u32], &mut [Cell], Now) {
        let Place { buffer, start, size } = self.places[variable as usize];
        let cells = &mut self.shadows[variable as usize];
        let (all, now) = match buffer {
            Some(index) => (&mut *self.buffers[index], self.now[1]),
            None => (self.workgroup.as_mut_slice(), self.now[0]),
        };
        (&mut all[start..start + size as usize], cells, now)
    }
}
