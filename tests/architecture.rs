#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/sources.rs"]
mod sources;

use circles::circles;
use sources::Crate;
use std::path::Path;

const CRATES: [&str; 4] =
    ["shaders/lib.rs", "engine/src/lib.rs", "models/lib.rs", "training/lib.rs"];

#[test]
fn no_circles() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for first in CRATES {
        let code = Crate::parse(repository, first);
        let uses = code.uses();
        println!("{first}: {} files, {} edges", code.files.len(), uses.len());
        for c in circles(&uses) {
            println!("  {c}");
        }
    }
}
