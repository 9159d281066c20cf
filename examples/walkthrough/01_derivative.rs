#[path = "common/mod.rs"]
mod common;
use common::charts::*;
fn main() {
    let c = common::Chapter::open();
    c.section("x");
    c.picture(
        "t1.svg",
        &lines(
            "A title",
            "step",
            "loss",
            &[
                Line::new("one", vec![(0.0, 1.0), (1.0, 3.0)]),
                Line {
                    name: "two".into(),
                    points: vec![(0.0, 2.0), (1.0, 1.5)],
                    spread: vec![0.1, 0.4],
                },
            ],
        ),
    );
    c.picture(
        "t2.svg",
        &bars(
            "Bars",
            "GFLOP/s",
            &[("naive".into(), 1.5), ("shared".into(), 12.0)],
            Some(("peak", 40.0)),
        ),
    );
    c.picture("t3.svg", &heat_map("map", "query", "key", &vec![vec![0.1, 0.9], vec![0.5, 0.0]]));
}
