//! What an entry point is compiled to. Functions are inlined, structures, vectors and matrices are taken
//! apart, and what is left works on registers of one word a lane.

use super::arithmetic::Operation;

/// The number of a register.
pub type Register = u32;

/// A compiled entry point.
pub struct Program {
    /// The shader's file, and the name of the entry point.
    pub file: String,
    pub entry_point: String,
    /// The invocations of a workgroup in x, y and z.
    pub size: [u32; 3],
    /// How many registers it takes.
    pub registers: Register,
    /// The values of the first registers.
    pub constants: Vec<u32>,
    /// The registers of the uniform structure: the first, and how many.
    pub uniforms: Option<(Register, u32)>,
    pub builtins: Vec<(BuiltIn, Register)>,
    pub variables: Vec<Variable>,
    pub accesses: Vec<Access>,
    pub body: Vec<Step>,
}

/// What an invocation is told of itself; of vectors one component.
#[derive(Clone, Copy, Debug)]
pub enum BuiltIn {
    Lane,
    Local(usize),
    Group(usize),
    Global(usize),
    Groups(usize),
    Size(usize),
}

/// A variable in memory that lanes share.
pub struct Variable {
    pub name: String,
    pub space: Space,
    /// The words that it takes at least.
    pub least: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Memory that the workgroup shares, from this word on.
    Workgroup { start: u32 },
    /// Memory that a binding of the dispatch sees.
    Storage { binding: u32, writes: bool },
}

/// Where an access goes: to a place within a variable, or within registers.
pub struct Access {
    pub root: Root,
    /// Words (or registers) from the root's start.
    pub offset: u32,
    /// What computed indices add.
    pub indices: Vec<Index>,
    /// The words (or registers) of the value, from there on.
    pub components: Vec<u32>,
    /// What is accessed, in words.
    pub name: String,
    pub line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Registers(Register),
    /// The index in [`Program::variables`].
    Variable(u32),
}

#[derive(Clone, Copy, Debug)]
pub struct Index {
    pub register: Register,
    pub stride: u32,
    /// How many elements there are; `None` for as many as the binding holds from word `from` on.
    pub length: Option<u32>,
    pub from: u32,
}

/// How an operation is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not at all: it is a part of a fused multiply-add.
    Free,
    Fused,
    Float,
    Integer,
}

#[derive(Clone, Copy, Debug)]
pub struct Compute {
    pub operation: Operation,
    pub class: Class,
    pub to: Register,
    pub operands: [Register; 3],
    pub line: u32,
}

pub enum Step {
    Compute(Compute),
    /// Sets registers that nobody else uses yet; so it does not matter in which lanes.
    Copy {
        to: Register,
        from: Register,
        count: u32,
    },
    /// Sets registers of a variable, in the lanes that come here.
    Set {
        to: Register,
        from: Register,
        count: u32,
    },
    /// Loads the components into registers from `to` on.
    Load {
        access: u32,
        to: Register,
    },
    Store {
        access: u32,
        from: Vec<Register>,
    },
    /// The elements of an array that a binding holds.
    Length {
        to: Register,
        variable: u32,
        from: u32,
        stride: u32,
    },
    If {
        condition: Register,
        accept: Vec<Step>,
        reject: Vec<Step>,
    },
    Switch {
        selector: Register,
        cases: Vec<Case>,
    },
    Loop {
        body: Vec<Step>,
        continuing: Vec<Step>,
        break_if: Option<Register>,
        line: u32,
    },
    /// The body of a function: a return leads behind it.
    Call(Vec<Step>),
    Barrier {
        workgroup: bool,
        storage: bool,
        line: u32,
    },
    Break,
    Continue,
    Return,
}

pub struct Case {
    /// `None` is the default.
    pub value: Option<u32>,
    pub body: Vec<Step>,
    pub falls_through: bool,
}
