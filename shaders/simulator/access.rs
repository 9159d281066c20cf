//! Loads and stores.

use super::counts::{WARP, bank_conflicts, sectors};
use super::findings::{Fault, lanes};
use super::machine::Machine;
use super::mask::Mask;
use super::program::{Access, Register, Root};
use super::shadow::Conflict;
use super::trace::Does;

impl Machine<'_, '_> {
    /// Loads a value into registers from `to` on.
    pub fn load(&mut self, access: u32, to: Register, mask: Mask) {
        let program = self.program;
        let access = &program.accesses[access as usize];
        let (places, inside) = self.places(access, mask);
        for part in 0..access.components.len() as u32 {
            self.wrapped.clear(to + part);
        }
        match access.root {
            Root::Registers(first) => self.load_registers(access, first, to, &places, inside),
            Root::Variable(variable) => {
                self.count(access, variable, &places, inside, false);
                self.trace(access, variable, &places, inside, Does::Read);
                self.load_memory(access, variable, to, &places, inside);
            }
        }
        self.places = places;
    }

    /// Stores a value from registers.
    pub fn store(&mut self, access: u32, from: &[Register], mask: Mask) {
        let program = self.program;
        let access = &program.accesses[access as usize];
        let (places, inside) = self.places(access, mask);
        match access.root {
            Root::Registers(first) => {
                for (component, from) in access.components.iter().zip(from) {
                    for lane in inside.lanes() {
                        let to = first + places[lane] + component;
                        let word = self.register(*from)[lane];
                        self.registers[to as usize * self.lanes + lane] = word;
                        let (one, (wrapped, line)) =
                            (Mask::from_iter([lane]), self.wrapped.of(*from));
                        self.wrapped.put(to, one, wrapped, line);
                    }
                }
            }
            Root::Variable(variable) => {
                self.count(access, variable, &places, inside, true);
                self.trace(access, variable, &places, inside, Does::Write);
                self.store_memory(access, variable, from, &places, inside);
            }
        }
        self.places = places;
    }

    /// The words that lanes go to, from the root's start, and which lanes stay inside.
    fn places(&mut self, access: &Access, mask: Mask) -> (Vec<u32>, Mask) {
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places.resize(self.lanes, access.offset);
        let mut inside = mask;
        for index in &access.indices {
            let length = index.length.unwrap_or_else(|| match access.root {
                Root::Variable(variable) => {
                    (self.memory.size(variable) - index.from.min(self.memory.size(variable)))
                        / index.stride
                }
                Root::Registers(_) => 0,
            });
            let words = self.register(index.register);
            let mut is_inside = true;
            for (place, word) in places.iter_mut().zip(words) {
                is_inside &= *word < length;
                *place = place.wrapping_add(word.wrapping_mul(index.stride));
            }
            if !is_inside {
                let outside: Mask = inside.lanes().filter(|lane| words[*lane] >= length).collect();
                if let Some(lane) = outside.lanes().next() {
                    let word = words[lane];
                    inside = inside.without(outside);
                    self.find(Fault::OutOfBounds, access.line, || {
                        format!(
                            "index {word} into {length} elements of {}, in {}",
                            access.name,
                            lanes(outside)
                        )
                    });
                }
            }
            if self.wrapped.any() {
                let (wrapped, line) = self.wrapped.of(index.register);
                let wrapped = wrapped & mask;
                if !wrapped.is_empty() {
                    self.find(Fault::WrappedIndex, access.line, || {
                        format!(
                            "the index into {} comes from line {line}, where it was too large for its \
                             32 bits, in {}",
                            access.name,
                            lanes(wrapped)
                        )
                    });
                }
            }
        }
        (places, inside)
    }

    fn load_registers(
        &mut self,
        access: &Access,
        first: Register,
        to: Register,
        places: &[u32],
        inside: Mask,
    ) {
        for (part, component) in (0..).zip(&access.components) {
            let to = to + part;
            for lane in inside.lanes() {
                let from = first + places[lane] + component;
                let word = self.register(from)[lane];
                self.registers[to as usize * self.lanes + lane] = word;
                let (wrapped, line) = self.wrapped.of(from);
                self.wrapped.put(to, Mask::from_iter([lane]), wrapped, line);
            }
        }
    }

    fn load_memory(
        &mut self,
        access: &Access,
        variable: u32,
        to: Register,
        places: &[u32],
        inside: Mask,
    ) {
        let mut conflicts = Vec::new();
        let mut unwritten = None;
        let is_workgroup = self.memory.is_workgroup(variable);
        let (words, cells, now) = self.memory.parts(variable);
        for (part, component) in access.components.iter().enumerate() {
            let start = (to as usize + part) * self.lanes;
            let registers = &mut self.registers[start..start + self.lanes];
            if cells.is_empty() {
                inside.each(|lane| {
                    registers[lane] = words[(places[lane] + component) as usize];
                });
                continue;
            }
            inside.each(|lane| {
                let at = (places[lane] + component) as usize;
                registers[lane] = words[at];
                let cell = &mut cells[at];
                if is_workgroup && !cell.is_written(now) {
                    unwritten.get_or_insert((lane, at));
                }
                if let Some(conflict) = cell.read(lane as u16, now) {
                    conflicts.push((lane, at, conflict));
                }
            });
        }
        if let Some((lane, at)) = unwritten {
            self.find(Fault::Unwritten, access.line, || {
                format!("lane {lane} reads word {at} of {}, which was not written", access.name)
            });
        }
        self.report(access, "reads", &conflicts);
    }

    fn store_memory(
        &mut self,
        access: &Access,
        variable: u32,
        from: &[Register],
        places: &[u32],
        inside: Mask,
    ) {
        let mut conflicts = Vec::new();
        let (words, cells, now) = self.memory.parts(variable);
        for (from, component) in from.iter().zip(&access.components) {
            let start = *from as usize * self.lanes;
            let registers = &self.registers[start..start + self.lanes];
            inside.each(|lane| {
                let at = (places[lane] + component) as usize;
                words[at] = registers[lane];
                if let Some(conflict) = cells[at].write(lane as u16, now) {
                    conflicts.push((lane, at, conflict));
                }
            });
        }
        self.report(access, "writes", &conflicts);
    }

    fn report(&mut self, access: &Access, does: &str, conflicts: &[(usize, usize, Conflict)]) {
        let (name, [x, y]) = (&access.name, self.group);
        for (lane, at, conflict) in conflicts {
            if let Some(tracer) = &mut self.tracer {
                tracer.race(*lane, *at);
            }
            let (fault, other) = match conflict {
                Conflict::WrittenBy(other) => (Fault::Race, format!("lane {other} wrote")),
                Conflict::ReadBy(other) => (Fault::Race, format!("lane {other} read")),
                Conflict::WrittenElsewhere => {
                    (Fault::RaceOfGroups, "another workgroup wrote".to_owned())
                }
                Conflict::ReadElsewhere => {
                    (Fault::RaceOfGroups, "another workgroup read".to_owned())
                }
            };
            self.find(fault, access.line, || {
                format!(
                    "lane {lane} of workgroup ({x}, {y}) {does} word {at} of {name}, which {other}; \
                     nothing orders them"
                )
            });
        }
    }

    /// Writes down what an access touches, if that is wanted.
    fn trace(&mut self, access: &Access, variable: u32, places: &[u32], inside: Mask, does: Does) {
        let Some(tracer) = &mut self.tracer else { return };
        let of_lane = |lane| access.components.iter().map(move |part| (lane, places[lane] + part));
        tracer.access(variable, access.line, does, inside.lanes().flat_map(of_lane));
    }

    /// Counts an access as instructions of up to four words.
    fn count(
        &mut self,
        access: &Access,
        variable: u32,
        places: &[u32],
        inside: Mask,
        stores: bool,
    ) {
        let Some(counts) = &mut self.counts else { return };
        let start = self.memory.start(variable);
        let is_workgroup = self.memory.is_workgroup(variable);
        for parts in access.components.chunks(4) {
            for first in (0..self.lanes).step_by(WARP) {
                let warp = first..self.lanes.min(first + WARP);
                let begins: Vec<Option<u32>> = warp
                    .map(|lane| inside.has(lane).then(|| start + places[lane] + parts[0]))
                    .collect();
                if begins.iter().all(Option::is_none) {
                    continue;
                }
                if is_workgroup {
                    counts.workgroup_accesses += 1;
                    counts.bank_conflicts += bank_conflicts(&begins, parts.len() as u32);
                    continue;
                }
                let words = begins
                    .iter()
                    .flatten()
                    .flat_map(|begin| parts.iter().map(move |part| begin + part - parts[0]));
                let (moved, fewest) = sectors(&mut words.collect());
                counts.sectors += moved;
                counts.fewest_sectors += fewest;
                *(if stores { &mut counts.stores } else { &mut counts.loads }) += 1;
            }
        }
    }
}
