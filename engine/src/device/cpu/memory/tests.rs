//! What the CPU's memory promises to its `unsafe` blocks.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn block(elements: usize) -> Block {
    let block = Arc::new(Pool::default()).allocate(elements).unwrap();
    block.write(0, &vec![1.0; elements]);
    block
}

fn part(block: &Block, start: usize, elements: usize) -> Argument<'_> {
    Argument { block, start, shape: Shape::from([elements]), add: false }
}

/// What a call that must panic says.
fn refused(call: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(call)).expect_err("it was granted");
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap()
}

/// Else there would be a slice to write to and another one of the same elements.
#[test]
fn a_result_that_overlaps_an_argument_is_refused() {
    let block = block(20);
    for (start, elements) in [(0, 20), (4, 1), (0, 5), (9, 11)] {
        let (result, other) = (part(&block, 4, 6), part(&block, start, elements));
        for (inputs, outputs) in [(vec![other], vec![result]), (vec![], vec![result, other])] {
            let said = refused(|| borrow(&inputs, &outputs, |_, _| ()));
            assert!(said.contains("overlaps another"), "{said}");
        }
    }
    // Neighbours, and what is read twice.
    let [before, after] = [part(&block, 0, 4), part(&block, 10, 10)];
    borrow(&[before, before, after], &[part(&block, 4, 6)], |inputs, outputs| {
        outputs[0].fill(inputs[0][3] + inputs[2][0]);
    });
    assert_eq!(block.read(3, 8, Vec::new()), [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]);
}

#[test]
fn a_slice_beyond_the_memory_is_refused() {
    let block = block(20);
    let whole = block.lines.as_ref().unwrap().len() * LINE;
    let beyond = part(&block, 1, whole);
    let said = refused(|| borrow(&[beyond], &[], |_, _| ()));
    assert!(said.contains("outside its memory"), "{said}");
    assert!(refused(|| block.write(whole, &[1.0])).contains("outside its memory"));
    assert!(refused(|| drop(block.read(whole, 1, Vec::new()))).contains("outside its memory"));
    assert_eq!(block.loans().len(), 0);
}

/// As another thread would, while a kernel has a part of the memory.
#[test]
fn other_elements_of_the_same_memory_are_free() {
    let block = block(20);
    borrow(&[], &[part(&block, 4, 6)], |_, outputs| {
        assert_eq!(block.read(0, 4, Vec::new()), [1.0; 4]);
        block.write(10, &[3.0; 10]);
        outputs[0].fill(2.0);
        for call in [
            |block: &Block| drop(block.read(9, 2, Vec::new())),
            |block: &Block| block.write(3, &[1.0; 2]),
        ] {
            let said = refused(|| call(&block));
            assert!(said.contains("another thread"), "{said}");
        }
    });
    borrow(&[part(&block, 0, 10)], &[], |inputs, _| {
        assert_eq!(block.read(0, 5, Vec::new()), inputs[0][..5]);
        let said = refused(|| block.write(9, &[1.0]));
        assert!(said.contains("another thread is using"), "{said}");
    });
    assert_eq!(block.loans().len(), 0);
    assert_eq!(block.read(8, 4, Vec::new()), [2.0, 2.0, 3.0, 3.0]);
}

#[test]
fn a_panic_gives_back_what_was_borrowed() {
    let [one, other] = [block(4), block(4)];
    let (inputs, outputs) = ([part(&one, 0, 4)], [part(&other, 0, 4)]);
    assert_eq!(refused(|| borrow(&inputs, &outputs, |_, _| panic!("in between"))), "in between");
    // Of three regions the last can not be had: the first two are given back.
    borrow(&[], &[part(&one, 0, 4)], |_, _| {
        let read = part(&other, 0, 2);
        refused(|| borrow(&[read, part(&one, 0, 1)], &[part(&other, 2, 2)], |_, _| ()));
    });
    for block in [one, other] {
        assert_eq!(block.loans().len(), 0);
        block.write(0, &[2.0; 4]);
    }
}

/// Threads that write neighbouring elements again and again, and read their own back.
#[test]
fn threads_write_neighbouring_parts_at_once() {
    let block = block(4 * 5);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let block = &block;
            scope.spawn(move || {
                for round in 0..if cfg!(miri) { 3 } else { 50 } {
                    let numbers = [(100 * part + round) as f32; 5];
                    block.write(5 * part, &numbers);
                    assert_eq!(block.read(5 * part, 5, Vec::new()), numbers);
                }
            });
        }
    });
}

#[test]
fn memory_that_waited_is_used_again() {
    let pool = Arc::new(Pool::default());
    let address = |block: &Block| block.lines.as_ref().unwrap().as_ptr();
    let block = pool.allocate(100).unwrap();
    let first = address(&block);
    drop(block);
    assert_eq!(address(&pool.allocate(100).unwrap()), first);
    pool.trim();
    assert_eq!(pool.memory().reserved, 0);
    let aligned = pool.allocate(1).unwrap();
    assert_eq!(address(&aligned) as usize % 64, 0);
}
