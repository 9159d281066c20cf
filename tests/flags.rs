//! Every flag of every program at the ends of what its help says: each value is either refused with
//! a message that names the flag, or a short run with it works. The flags are read from `--help`, so
//! that a new one without a row here fails.

mod common;

use common::programs::{digits, path_of, program, said, scenes, text_file};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

/// What becomes of a value: the run works, or it is refused with these words.
enum Then {
    Works,
    Refused(&'static str),
}
use Then::{Refused, Works};

/// Flags with what they are tried with; a flag without a value has an empty one.
type Row = (&'static str, &'static [(&'static str, Then)]);

/// A flag without a value that is refused; one that works has an empty value.
const ALONE: &str = "(alone)";

/// More than any size, and more than 64 bits hold.
const BIG: &str = "9999999999";
const MOST: &str = "18446744073709551615";
const HUGE: &str = "99999999999999999999999";

/// The flags that all programs which train share.
const TRAINING: &[Row] = &[
    (
        "--variant",
        &[
            ("all", Works),
            ("neutreno+resformer,svformer", Works),
            ("neutreno:-0.2,neutreno+resformer:1:sparse:3:1,resformer:learnable-plus", Works),
            ("resformer:identity,resformer", Works),
            ("", Refused("--variant")),
            ("neutreno:", Refused("\"\" is out of place: λ follows this name")),
            ("neutreno:0.2:0.4", Refused("\"0.4\" is out of place")),
            ("neutreno:nan", Refused("--neutreno-lambda must be finite")),
            ("transformer:0.2", Refused("no constants follow this name")),
            ("resformer:0.2", Refused("a kind follows this name")),
            ("resformer:constant:x", Refused("\"x\" is not such a number")),
            ("resformer:sparse:5:0", Refused("--resformer-layers: layer 0 cannot mix")),
            ("reformer:sparse", Refused("[possible values: all, transformer,")),
            ("neutreno,neutreno:0.6,neutreno:0.4", Refused("are the same model")),
        ],
    ),
    (
        "--neutreno-lambda",
        &[
            ("0", Works),
            ("-1000", Works),
            ("1e39", Refused("--neutreno-lambda")),
            ("0.2,0.4", Refused("--variant neutreno:0.2,neutreno:0.4")),
            ("nan", Refused("--neutreno-lambda")),
        ],
    ),
    // With a folder that can be started from: tests/start.rs.
    ("--from", &[("/no/such/place", Refused("does not go with --from"))]),
    ("--use", &[("best", Refused("--from <MODEL>")), ("worst", Refused("--use"))]),
    (
        "--resformer-kind",
        &[
            ("constant", Works),
            ("sparse", Works),
            ("learnable", Works),
            ("sparse,learnable", Refused("--resformer-kind")),
        ],
    ),
    ("--resformer-lambda", &[("1", Refused("--resformer-lambda has no effect"))]),
    ("--resformer-layers", &[("1", Refused("--resformer-layers has no effect"))]),
    ("--preset", &[("none", Refused("--preset"))]),
    (
        "--layers",
        &[
            ("1", Works),
            ("0", Refused("--layers")),
            ("1000000000", Refused("--layers")),
            (MOST, Refused("--layers")),
        ],
    ),
    (
        "--width",
        &[
            ("4", Works),
            ("0", Refused("--width")),
            ("4294967296", Refused("--width")),
            ("2147483646", Refused("--width")),
        ],
    ),
    ("--heads", &[("1", Works), ("0", Refused("--heads")), (HUGE, Refused("--heads"))]),
    (
        "--feed-forward",
        &[
            ("1", Works),
            ("0", Refused("--feed-forward")),
            ("2147483647", Refused("memory")),
            (BIG, Refused("--feed-forward")),
        ],
    ),
    ("--label-smoothing", &[("0", Works), ("0.999", Works), ("1", Refused("--label-smoothing"))]),
    (
        "--batch",
        &[
            ("1", Works),
            ("0", Refused("--batch")),
            ("2147483647", Refused("--batch")),
            (MOST, Refused("--batch")),
        ],
    ),
    (
        "--accumulate",
        &[
            ("1", Works),
            ("3", Works),
            ("0", Refused("--accumulate")),
            (MOST, Refused("--accumulate")),
        ],
    ),
    ("--steps", &[("1", Works), ("0", Refused("--steps")), (HUGE, Refused("--steps"))]),
    ("--minutes", &[("0", Refused("--minutes")), ("inf", Refused("--minutes"))]),
    (
        "--lr",
        &[
            ("0", Works),
            ("1e-320", Works),
            ("-1", Refused("--lr")),
            ("inf", Refused("--lr")),
            ("1e-3,3e-3", Refused("one is taken here, not a list")),
        ],
    ),
    ("--warmup", &[("0", Works), (MOST, Works)]),
    ("--decay", &[("constant", Works), ("linear", Works), ("cosine", Works)]),
    ("--weight-decay", &[("0", Works), ("1e-320", Works), ("nan", Refused("--weight-decay"))]),
    (
        "--clip",
        &[
            ("0", Works),
            ("1e-320", Works),
            ("1e-39", Works),
            ("1e308", Works),
            ("-1", Refused("--clip")),
            ("inf", Refused("--clip")),
        ],
    ),
    ("--average", &[("0", Works), ("0.999999", Works), ("1", Refused("--average"))]),
    (
        "--patience",
        &[
            ("0", Works),
            ("1", Refused("--patience counts the validations")),
            ("-1", Refused("--patience")),
        ],
    ),
    ("--measure-every", &[("0", Works), ("1", Works), (MOST, Works)]),
    ("--seed", &[("0", Works), (MOST, Works)]),
    ("--seeds", &[("2", Works), ("0", Refused("--seeds")), ("1001", Refused("--seeds"))]),
    (
        "--device",
        &[
            ("CPU", Works),
            ("", Refused("at least three letters")),
            ("l", Refused("at least three letters")),
            ("gpu:99", Refused("gpu:99")),
        ],
    ),
    ("--threads", &[("0", Works), ("1", Works), ("1025", Refused("--threads"))]),
    ("--as-hardware", &[(ALONE, Refused("the CPU is no GPU"))]),
    ("--list-devices", &[("", Works)]),
    #[cfg(feature = "mpi")]
    (
        "--expect-ranks",
        &[
            ("1", Works),
            ("2", Refused("--expect-ranks 2: there are 1")),
            ("0", Refused("--expect-ranks")),
        ],
    ),
    #[cfg(feature = "mpi")]
    ("--shard-optimizer", &[("", Works)]),
    (
        "--checkpoint-every",
        &[
            ("0", Works),
            ("1", Works),
            ("0.001min", Works),
            (MOST, Works),
            ("0min", Refused("--checkpoint-every")),
        ],
    ),
    (
        "--keep-checkpoints",
        &[("1", Works), ("2147483647", Works), ("0", Refused("--keep-checkpoints"))],
    ),
    ("--on-nonfinite", &[("stop", Works), ("skip", Works)]),
    ("--debug-nonfinite", &[("", Works)]),
    ("--on-device-loss", &[("stop", Works), ("retry", Works)]),
    (
        "--memory-limit",
        &[("1GiB", Works), ("1", Refused("--memory-limit")), ("0", Refused("--memory-limit"))],
    ),
    ("--hash-every", &[("0", Works), ("1", Works), (MOST, Works)]),
    ("--out", &[("", Refused("--out"))]),
    ("--baseline", &[("transformer", Works), ("nobody", Refused("nobody"))]),
    ("--longer", &[("hold", Refused("it needs --resume"))]),
    ("--resume-or-start", &[("", Refused("--resume-or-start"))]),
    ("--resume", &[("nowhere", Refused("nowhere is not the folder of a run"))]),
    ("--eval-every", &[("0", Works), ("1", Works), (MOST, Works)]),
    ("--data", &[("/no/such/place", Refused("/no/such/place"))]),
    ("--tensorboard", &[("", Works)]),
    ("--json", &[("", Works)]),
    ("--line-every", &[("1", Works), ("0", Refused("--line-every"))]),
    ("--quiet", &[("", Works)]),
];

const TEXT: &[Row] = &[
    ("--kv-heads", &[("1", Works), ("0", Refused("--kv-heads")), ("3", Refused("--kv-heads"))]),
    (
        "--share-keys",
        &[
            ("1", Works),
            ("2", Works),
            ("0", Refused("--share-keys")),
            ("99", Refused("--share-keys 99")),
        ],
    ),
    ("--untied", &[("", Works)]),
    (
        "--context",
        &[("1", Works), ("0", Refused("--context")), ("2147483647", Refused("--context"))],
    ),
    ("--dropout", &[("0", Works), ("0.99", Works), ("1", Refused("--dropout"))]),
    (
        "--embedding-deviation",
        &[
            ("0.02", Works),
            ("1e-38", Works),
            ("0", Refused("--embedding-deviation")),
            ("inf", Refused("--embedding-deviation")),
        ],
    ),
    ("--recompute", &[("", Works)]),
    ("--offline", &[("", Works)]),
    ("--require-real-text", &[("", Works)]),
    (
        "--tokenizer",
        &[
            ("words", Works),
            ("bytes", Works),
            ("bpe:300", Works),
            ("bpe:0", Refused("--tokenizer")),
            ("nowhere.json", Refused("nowhere.json")),
            ("~/x.json", Refused("$HOME")),
        ],
    ),
    ("--eval-tokens", &[("2", Works), (MOST, Works), ("1", Refused("--eval-tokens"))]),
    ("--sample-every", &[("0", Works), ("1", Works), (MOST, Works)]),
    (
        "--lambda-warmup",
        &[
            ("0", Works),
            ("1", Works),
            (MOST, Refused("--lambda-warmup")),
            ("-1", Refused("--lambda-warmup")),
        ],
    ),
];

const IMAGES: &[Row] = &[
    (
        "--patch",
        &[("1", Works), ("4", Works), ("3", Refused("--patch")), ("0", Refused("--patch"))],
    ),
    ("--drop-path", &[("0", Works), ("0.99", Works), ("1", Refused("--drop-path"))]),
    ("--classes", &[("dark,light", Works), ("dark", Refused("class"))]),
    ("--eval-images", &[("1", Works), ("2147483647", Works), ("0", Refused("--eval-images"))]),
    ("--no-augmentation", &[("", Works)]),
    ("--padding", &[("0", Works), (MOST, Refused("--padding"))]),
    ("--flip", &[("0", Works), ("1", Works), ("1.1", Refused("--flip"))]),
    ("--scale", &[("1,1", Works), ("0,1", Refused("--scale")), ("nan,1", Refused("--scale"))]),
    ("--color-jitter", &[("0", Works), ("1", Works), ("1.1", Refused("--color-jitter"))]),
    ("--operations", &[("0", Works), ("3", Works)]),
    ("--magnitude", &[("0.5", Refused("--magnitude says how strong --operations are"))]),
];

const CLASSIFICATION: &[Row] = &[
    ("--class-token", &[("true", Works), ("false", Works), ("perhaps", Refused("--class-token"))]),
    (
        "--image-size",
        &[("8x8", Works), ("4x4", Refused("--image-size")), ("0x4", Refused("--image-size"))],
    ),
    (
        "--ground",
        &[
            ("black", Refused("--ground is for pictures that are files")),
            ("#0000f", Refused("--ground")),
        ],
    ),
    ("--skip-broken", &[(ALONE, Refused("--skip-broken is for pictures that are files"))]),
    ("--erasing", &[("0", Works), ("1", Works), ("-1", Refused("--erasing"))]),
    (
        "--mixup",
        &[
            ("0", Works),
            ("4", Works),
            ("1e30", Refused("must be in 0..=4")),
            ("-1", Refused("--mixup")),
        ],
    ),
    (
        "--cutmix",
        &[
            ("0", Works),
            ("4", Works),
            ("1e30", Refused("must be in 0..=4")),
            ("nan", Refused("--cutmix")),
        ],
    ),
];

/// The flags that a program's help names, but for those that every program has.
fn flags_of(name: &str) -> BTreeSet<String> {
    let output = program(name).arg("--help").output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let flag = |line: &str| {
        let line = line.trim_start();
        let line = if line.starts_with("--") { line } else { line.strip_prefix('-')?.get(3..)? };
        let end = line.find(|letter: char| !(letter == '-' || letter.is_ascii_lowercase()));
        let flag = &line[..end.unwrap_or(line.len())];
        flag.starts_with("--").then(|| flag.to_owned())
    };
    let usual = |flag: &String| !["--help", "--version"].contains(&flag.as_str());
    text.lines().filter_map(flag).filter(usual).collect()
}

/// Fails unless the rows are those of the program's flags, and what they say is so.
fn check(name: &str, rows: &[&[Row]], run: impl Fn(&[String]) -> Output + Sync) {
    let rows: Vec<&Row> = rows.iter().copied().flatten().collect();
    let known: BTreeSet<String> = rows.iter().map(|(flag, _)| (*flag).to_owned()).collect();
    assert_eq!(flags_of(name), known, "{name}: its flags, and those with a row");
    let mut wrong = Vec::new();
    for (flag, values) in rows {
        for (value, then) in *values {
            let alone = *value == ALONE || value.is_empty() && matches!(then, Works);
            let typed = if alone { (*flag).into() } else { format!("{flag}={value}") };
            let output = run(std::slice::from_ref(&typed));
            let said = said(&output);
            let good = match (then, output.status.code()) {
                (Works, code) => code == Some(0),
                (Refused(words), Some(1 | 2)) => said.contains(words),
                (Refused(_), _) => false,
            };
            if !good || said.contains("panicked") {
                let code = output.status.code();
                wrong.push(format!("{name} {typed} ended with {code:?} and said: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(name: &str, usual: &str, data: &Path, flags: &[String]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(name);
    command.current_dir(folder.path());
    // A flag of the row takes the place of the usual one.
    let is_tried = |flag: &str| flags[0].split('=').next() == Some(flag);
    let steps = is_tried("--minutes");
    let mut usual = usual.split_whitespace().peekable();
    while let Some(flag) = usual.next() {
        let value = usual.next_if(|next| !next.starts_with("--"));
        if !(is_tried(flag) || steps && flag == "--steps") {
            command.arg(flag).args(value);
        }
    }
    if !is_tried("--data") {
        command.arg("--data").arg(data);
    }
    if !(is_tried("--out") || is_tried("--resume")) {
        command.args(["--out", "run"]);
    }
    command.args(flags).output().expect("the program starts")
}

const SMALL: &str = "--device cpu --threads 1 --layers 2 --width 8 --heads 2 --batch 2 --steps 2 \
                     --eval-every 0 --quiet";

#[test]
fn of_lm_wikitext() {
    let folder = tempfile::tempdir().unwrap();
    let text = text_file(folder.path());
    let usual = format!("{SMALL} --context 8 --eval-tokens 50 --sample-every 0 --warmup 0");
    check("lm_wikitext", &[TRAINING, TEXT], |flags| run("lm_wikitext", &usual, &text, flags));
}

#[test]
fn of_image_classification() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("digits");
    digits(&data, 20);
    let usual = format!("{SMALL} --patch 4 --eval-images 4 --warmup 0");
    let rows = [TRAINING, IMAGES, CLASSIFICATION];
    check("image_classification", &rows, |flags| run("image_classification", &usual, &data, flags));
}

const SEGMENTATION: &[Row] = &[
    ("--class-token", &[("true", Refused("--class-token has no effect here"))]),
    (
        "--image-size",
        &[
            ("4x8", Works),
            ("9x9", Refused("--patch 4 does not divide")),
            ("0x4", Refused("--image-size")),
        ],
    ),
    ("--ground", &[("black", Works), ("#ff8000", Works), ("#0000f", Refused("--ground"))]),
    ("--skip-broken", &[("", Works)]),
    ("--decoder-layers", &[("1", Works), ("0", Refused("--decoder-layers"))]),
    (
        "--mask-upscale",
        &[
            ("1", Works),
            ("4", Works),
            ("3", Refused("--mask-upscale")),
            ("0", Refused("--mask-upscale")),
        ],
    ),
    (
        "--mask-norm-epsilon",
        &[("1e-6", Works), ("1", Works), ("0", Refused("--mask-norm-epsilon"))],
    ),
    ("--balance", &[("0", Works), ("0.999", Works), ("1", Refused("--balance"))]),
    ("--void", &[("255", Works), ("0", Works), ("256", Refused("--void"))]),
    (
        "--label-values",
        &[("0,1", Works), ("0", Refused("label")), ("0,x", Refused("--label-values"))],
    ),
];

#[test]
fn of_image_segmentation() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("scenes");
    scenes(&data);
    let usual = format!("{SMALL} --patch 4 --eval-images 4 --warmup 0");
    let rows = [TRAINING, IMAGES, SEGMENTATION];
    check("image_segmentation", &rows, |flags| run("image_segmentation", &usual, &data, flags));
}

#[test]
fn of_efficiency() {
    let folder = tempfile::tempdir().unwrap();
    let text = text_file(folder.path());
    let usual = "--device cpu --threads 1 --layers 2 --head-size 4 --widths 8 --tokens 320 \
                 --budgets 320 --context 8 --batch 4 --seeds 1 --tokenizer bytes \
                 --eval-tokens 50 --quiet";
    const ROWS: &[Row] = &[
        ("--data", &[("/no/such/place", Refused("/no/such/place"))]),
        ("--tokenizer", &[("words", Works), ("bpe:", Refused("--tokenizer"))]),
        ("--variant", &[("all", Works), ("none", Refused("--variant"))]),
        ("--layers", &[("1", Works), ("0", Refused("--layers")), (BIG, Refused("--layers"))]),
        (
            "--widths",
            &[("4", Works), ("0", Refused("--widths")), ("2147483644", Refused("--widths"))],
        ),
        (
            "--head-size",
            &[("2", Works), ("0", Refused("--head-size")), ("2147483647", Refused("--head-size"))],
        ),
        (
            "--tokens",
            &[("1", Refused("tokens")), ("0", Refused("--tokens")), (HUGE, Refused("--tokens"))],
        ),
        ("--budgets", &[("1", Refused("tokens")), ("0", Refused("--budgets"))]),
        (
            "--context",
            &[("1", Works), ("0", Refused("--context")), ("2147483647", Refused("--context"))],
        ),
        ("--batch", &[("1", Works), ("0", Refused("--batch")), ("2147483647", Refused("--batch"))]),
        (
            "--accumulate",
            &[("1", Works), ("2", Refused("only 5 steps")), (BIG, Refused("--accumulate"))],
        ),
        ("--lr", &[("0", Works), ("inf", Refused("--lr"))]),
        ("--warmup", &[("0", Works), ("0.999", Works), ("1", Refused("--warmup"))]),
        ("--embedding-deviation", &[("0.02", Works), ("0", Refused("--embedding-deviation"))]),
        ("--eval-tokens", &[("2", Works), ("2147483647", Works), ("1", Refused("--eval-tokens"))]),
        ("--seed", &[("0", Works), (MOST, Works)]),
        ("--seeds", &[("1", Works), ("0", Refused("--seeds"))]),
        ("--out", &[(".", Works)]),
        ("--quiet", &[("", Works)]),
        ("--device", &[("cpu", Works), ("x", Refused("at least three letters"))]),
        ("--threads", &[("0", Works), ("1025", Refused("--threads"))]),
        ("--as-hardware", &[(ALONE, Refused("the CPU is no GPU"))]),
        ("--list-devices", &[("", Works)]),
        #[cfg(feature = "mpi")]
        ("--expect-ranks", &[("1", Works), ("2", Refused("--expect-ranks 2: there are 1"))]),
        #[cfg(feature = "mpi")]
        ("--shard-optimizer", &[("", Works)]),
    ];
    check("efficiency", &[ROWS], |flags| run("efficiency", usual, &text, flags));
    // Another program's run is left alone.
    let other = folder.path().join("run");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("run.json"), "{}").unwrap();
    let output = run("efficiency", usual, &text, &[format!("--out={}", path_of(&other))]);
    assert!(!output.status.success() && said(&output).contains("--out"), "{}", said(&output));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn of_bench_training() {
    const ROWS: &[Row] = &[
        ("--as-hardware", &[(ALONE, Refused("the CPU is no GPU"))]),
        ("--size", &[("s", Works), ("L", Refused("--size"))]),
        ("--layers", &[("1", Works), ("0", Refused("--layers")), (BIG, Refused("--layers"))]),
        ("--width", &[("2", Works), ("0", Refused("--width")), ("2147483646", Refused("--width"))]),
        ("--heads", &[("2", Works), ("0", Refused("--heads")), ("3", Refused("--heads"))]),
        (
            "--context",
            &[("1", Works), ("0", Refused("--context")), ("2147483647", Refused("--context"))],
        ),
        (
            "--batch",
            &[
                ("1", Works),
                ("0", Refused("--batch")),
                ("10000000", Refused("of memory, and this machine has")),
                ("2147483647", Refused("--batch")),
            ],
        ),
        ("--vocab", &[("2", Works), ("0", Refused("--vocab")), ("2147483647", Refused("--vocab"))]),
        ("--tied", &[("", Works)]),
        ("--recompute", &[("", Works)]),
        ("--clip", &[("", Works)]),
        ("--variant", &[("all", Works), ("none", Refused("--variant"))]),
        ("--device", &[("cpu", Works), ("", Refused("at least three letters"))]),
        ("--threads", &[("1", Works), ("1025", Refused("--threads"))]),
        ("--steps", &[("5", Works), ("4", Refused("--steps")), (HUGE, Refused("--steps"))]),
        ("--profile", &[("", Works)]),
        ("--json", &[("", Works)]),
    ];
    let usual =
        "--device cpu --threads 1 --layers 1 --width 4 --heads 1 --context 8 --batch 2 --steps 5";
    check("bench_training", &[ROWS], |flags| {
        let mut command = program("bench_training");
        let tried = flags[0].split('=').next();
        let mut usual = usual.split_whitespace();
        while let (Some(flag), Some(value)) = (usual.next(), usual.next()) {
            if tried != Some(flag) {
                command.args([flag, value]);
            }
        }
        command.args(flags).output().expect("the program starts")
    });
}

#[test]
fn of_hardware() {
    let flags = ["--device", "--as-hardware", "--quick", "--beside", "--out"];
    assert_eq!(flags_of("hardware"), flags.map(String::from).into());
    for (given, words) in [
        ("--device=cpu", "and no GPU"),
        ("--device=x", "at least three letters"),
        ("--beside=/no/such/file", "/no/such/file"),
        ("--bogus", "--bogus"),
    ] {
        let output = program("hardware").arg(given).output().unwrap();
        assert!(!output.status.success() && said(&output).contains(words), "{}", said(&output));
    }
}

/// Looking for help does not begin the whole check, and a flag that is not there is named.
#[test]
fn of_doctor() {
    assert_eq!(flags_of("doctor"), BTreeSet::new());
    let output = program("doctor").arg("--bogus").output().unwrap();
    assert!(!output.status.success() && said(&output).contains("--bogus"), "{}", said(&output));
}

#[test]
fn of_measure() {
    const ROWS: &[Row] = &[
        ("--data", &[("/no/such/place", Refused("/no/such/place"))]),
        ("--use", USE),
        ("--sequences", &[("1", Works), ("2147483647", Works), ("0", Refused("--sequences"))]),
        (
            "--heads",
            &[
                ("1:1,2:2", Works),
                ("3:1", Refused("3:1")),
                ("0:1", Refused("--heads")),
                ("1", Refused("--heads")),
            ],
        ),
        ("--out", &[("here", Works)]),
        ("--quiet", &[("", Works)]),
        ("--device", &[("cpu", Works), ("x", Refused("at least three letters"))]),
        ("--threads", &[("0", Works), ("1025", Refused("--threads"))]),
        ("--as-hardware", &[(ALONE, Refused("the CPU is no GPU"))]),
        ("--list-devices", &[("", Works)]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let [trained, _] = trained(folder.path());
    check("measure", &[ROWS], |flags| {
        let mut command = program("measure");
        command.current_dir(folder.path()).arg(&trained);
        command.args(flags).output().expect("the program starts")
    });
    let output = program("measure").arg("nowhere").output().unwrap();
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("nowhere is not the folder of a run"), "{}", said(&output));
}

#[test]
fn of_report() {
    const ROWS: &[Row] = &[
        ("--figures", &[("here", Works), ("", Refused("--figures"))]),
        ("--only", &[("validation_loss", Works), ("loss", Refused("--only loss"))]),
        (
            "--pixels",
            &[
                ("100", Works),
                ("10000", Works),
                ("99", Refused("--pixels")),
                ("10001", Refused("--pixels")),
            ],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let [trained, _] = trained(folder.path());
    check("report", &[ROWS], |flags| {
        let figures = tempfile::tempdir().unwrap();
        let mut command = program("report");
        command.current_dir(folder.path()).arg(&trained).args(flags);
        if !flags.iter().any(|flag| flag.starts_with("--figures")) {
            // One picture is enough.
            command.arg("--figures").arg(figures.path());
            if !flags.iter().any(|flag| flag.starts_with("--only")) {
                command.args(["--only", "training_loss"]);
            }
        }
        command.output().expect("the program starts")
    });
}

/// Which weights, of a run of two steps.
const USE: &[(&str, Then)] = &[
    ("last", Works),
    ("best", Works),
    ("2", Works),
    ("1", Refused("there is no checkpoint of step 1")),
    ("worst", Refused("--use")),
];

const MODELS: &[Row] = &[
    (
        "--model",
        &[("nowhere", Refused("nowhere: there is no such folder")), ("", Refused("--model"))],
    ),
    ("--use", USE),
    (
        "--variant",
        &[
            ("svformer", Works),
            ("SVFormer", Works),
            ("", Refused("has no model")),
            ("all", Refused("has no model all")),
        ],
    ),
    (
        "--precision",
        &[("f32", Works), ("bf16", Works), ("f16", Works), ("f8", Refused("--precision"))],
    ),
    ("--strict", &[("", Works)]),
    ("--json", &[("", Works)]),
    ("--quiet", &[("", Works)]),
    ("--device", &[("cpu", Works), ("x", Refused("at least three letters"))]),
    ("--threads", &[("0", Works), ("1025", Refused("--threads"))]),
    ("--as-hardware", &[(ALONE, Refused("the CPU is no GPU"))]),
    ("--list-devices", &[("", Works)]),
];

/// A small run in a folder, and the text that it learnt from.
fn trained(folder: &Path) -> [std::path::PathBuf; 2] {
    let (text, trained) = (text_file(folder), folder.join("trained"));
    let mut command = program("lm_wikitext");
    command.args(SMALL.split_whitespace()).args(["--context", "8", "--variant", "svformer"]);
    command.args(["--data", &path_of(&text), "--out", &path_of(&trained)]);
    assert!(command.status().unwrap().success());
    [trained, text]
}

#[test]
fn of_generate() {
    const ROWS: &[Row] = &[
        (
            "--prompt",
            &[("the", Works), ("-h", Works), ("", Refused("--prompt is an empty prompt"))],
        ),
        ("--prompt-file", &[("/no/such/place", Refused("/no/such/place"))]),
        ("--batch-of-prompts", &[("/no/such/place", Refused("/no/such/place"))]),
        ("--batch", &[("1", Refused("--batch <PROMPTS>")), ("0", Refused("--batch"))]),
        ("--chat", &[(ALONE, Refused("has no chat template"))]),
        ("--system", &[("x", Refused("--system <TEXT>"))]),
        (
            "--tokens",
            &[
                ("1", Works),
                ("2147483647", Works),
                ("0", Refused("--tokens")),
                (HUGE, Refused("--tokens")),
            ],
        ),
        (
            "--temperature",
            &[
                ("0", Works),
                ("1e300", Works),
                ("-1", Refused("--temperature")),
                ("nan", Refused("--temperature")),
            ],
        ),
        ("--top-k", &[("0", Works), ("1", Works), (MOST, Works), ("-1", Refused("--top-k"))]),
        (
            "--top-p",
            &[
                ("1e-30", Works),
                ("1", Works),
                ("0", Refused("--top-p")),
                ("1.5", Refused("a top-p")),
            ],
        ),
        (
            "--min-p",
            &[
                ("0", Works),
                ("1", Works),
                ("1.5", Refused("a min-p")),
                ("-0.5", Refused("--min-p")),
            ],
        ),
        (
            "--repetition-penalty",
            &[("1e30", Works), ("1e-30", Works), ("0", Refused("--repetition-penalty"))],
        ),
        ("--greedy", &[("", Works)]),
        ("--stop", &[("-", Works), ("never there", Works), ("", Refused("--stop"))]),
        ("--seed", &[("0", Works), (MOST, Works), ("-1", Refused("--seed"))]),
        (
            "--context",
            &[
                ("1", Works),
                ("8", Works),
                ("9", Refused("--context 9")),
                ("0", Refused("--context")),
            ],
        ),
        ("--when-full", &[("stop", Works), ("slide", Works), ("go", Refused("--when-full"))]),
        ("--cache-precision", &[("bf16", Works), ("f64", Refused("--cache-precision"))]),
        ("--cache-table", &[("", Works)]),
        ("--layers", &[("1", Works), ("0", Refused("--layers")), (BIG, Refused("--layers"))]),
        ("--width", &[("16", Works), ("9", Refused("divide")), ("0", Refused("--width"))]),
        ("--heads", &[("1", Works), ("3", Refused("divide")), ("0", Refused("--heads"))]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let [trained, _] = trained(folder.path());
    check("generate", &[MODELS, ROWS], |flags| {
        let mut command = program("generate");
        command.current_dir(folder.path());
        let tries = |name: &str| flags.iter().any(|flag| flag.split('=').next() == Some(name));
        if ["--layers", "--width", "--heads"].iter().any(|name| tries(name)) {
            return command.arg("--cache-table").args(flags).output().expect("the program starts");
        }
        if !tries("--model") {
            command.arg("--model").arg(&trained);
        }
        if !["--cache-table", "--prompt", "--prompt-file", "--batch-of-prompts", "--chat"]
            .iter()
            .any(|name| tries(name))
        {
            command.args(["--prompt", "the"]);
        }
        command.args(flags).output().expect("the program starts")
    });
}

#[test]
fn of_evaluate() {
    const ROWS: &[Row] = &[
        (
            "--data",
            &[("/no/such/place", Refused("/no/such/place")), (".", Refused("holds no corpus"))],
        ),
        (
            "--context",
            &[
                ("1", Works),
                ("8", Works),
                ("9", Refused("--context 9")),
                ("0", Refused("--context")),
            ],
        ),
        (
            "--stride",
            &[
                ("1", Works),
                ("8", Works),
                ("9", Refused("stride of 9")),
                ("0", Refused("--stride")),
            ],
        ),
        ("--batch", &[("1", Works), ("1000", Works), ("0", Refused("--batch"))]),
        (
            "--split",
            &[
                ("train", Works),
                ("validation", Works),
                ("test", Works),
                ("all", Works),
                ("none", Refused("--split")),
            ],
        ),
        ("--by-position", &[("", Works)]),
        ("--per-token", &[("x.csv", Works), ("/no/such/place/x.csv", Refused("/no/such/place"))]),
        ("--per-class", &[("x.csv", Refused("--per-class is for models of images"))]),
        ("--confusion", &[("x.csv", Refused("--confusion is for models of images"))]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let [trained, text] = trained(folder.path());
    check("evaluate", &[MODELS, ROWS], |flags| {
        let mut command = program("evaluate");
        command.current_dir(folder.path());
        let tries = |name: &str| flags.iter().any(|flag| flag.split('=').next() == Some(name));
        if !tries("--model") {
            command.arg("--model").arg(&trained);
        }
        if !tries("--data") {
            command.arg("--data").arg(&text);
        }
        command.args(flags).output().expect("the program starts")
    });
}

#[test]
fn of_compare() {
    const ROWS: &[Row] = &[
        ("--baseline", &[("1", Works), ("SVFormer", Works), ("2", Refused("--baseline 2"))]),
        ("--score", &[("test_loss", Works), ("", Refused("--score"))]),
        ("--out", &[("new", Works), (".", Refused("is there already"))]),
        ("--json", &[("", Works)]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let [trained, _] = trained(folder.path());
    check("compare", &[ROWS], |flags| {
        let mut command = program("compare");
        command.current_dir(folder.path()).arg(&trained).args(flags);
        command.output().expect("the program starts")
    });
}

#[test]
fn of_predict() {
    const ROWS: &[Row] = &[
        ("--out", &[("new", Works), ("", Refused("--out"))]),
        ("--variant", &[("svformer", Works), ("resformer", Refused("has no model resformer"))]),
        ("--use", USE),
        ("--batch", &[("1", Works), ("1000", Works), ("0", Refused("--batch"))]),
        ("--ground", &[("black", Works), ("#0000f", Refused("--ground"))]),
        ("--skip-broken", &[("", Works)]),
        ("--json", &[("", Works)]),
        ("--quiet", &[("", Works)]),
        ("--device", &[("cpu", Works), ("x", Refused("at least three letters"))]),
        ("--threads", &[("0", Works), ("1025", Refused("--threads"))]),
        ("--as-hardware", &[(ALONE, Refused("the CPU is no GPU"))]),
        ("--list-devices", &[("", Works)]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (data, trained) = (folder.path().join("scenes"), folder.path().join("trained"));
    scenes(&data);
    let mut command = program("image_segmentation");
    command.args(SMALL.split_whitespace()).args(["--patch", "4", "--variant", "svformer"]);
    command.args(["--data", &path_of(&data), "--out", &path_of(&trained)]);
    assert!(command.status().unwrap().success());
    check("predict", &[ROWS], |flags| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program("predict");
        command.current_dir(folder.path()).arg(&trained).arg(data.join("test"));
        if flags[0].split('=').next() != Some("--out") {
            command.args(["--out", "said"]);
        }
        command.args(flags).output().expect("the program starts")
    });
}

/// A shell leaves a `~` in quotes as it is.
#[test]
fn of_paths_that_begin_with_a_tilde() {
    for (name, typed) in [
        ("lm_wikitext", "--data=~/x"),
        ("lm_wikitext", "--out=~/x"),
        ("lm_wikitext", "--resume=~/x"),
        ("image_classification", "--data=~/x"),
        ("image_segmentation", "--resume=~/x"),
        ("efficiency", "--out=~/x"),
        ("measure", "~/x"),
        ("measure", "--data=~/x"),
        ("measure", "--out=~/x"),
        ("report", "~/x"),
        ("report", "--figures=~/x"),
        ("generate", "--model=~/x"),
        ("generate", "--prompt-file=~/x"),
        ("evaluate", "--model=~/x"),
        ("evaluate", "--data=~/x"),
        ("compare", "~/x"),
        ("compare", "--out=~/x"),
        ("evaluate", "~/x"),
        ("evaluate", "--per-token=~/x"),
        ("predict", "--out=~/x"),
    ] {
        let output = program(name).arg(typed).output().unwrap();
        let said = said(&output);
        assert!(!output.status.success() && said.contains("$HOME"), "{name} {typed}: {said}");
    }
}

/// Where two values may be meant, the last one alone would count without a word.
#[test]
fn what_is_typed_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = text_file(folder.path());
    let out = folder.path().join("run");
    let begin = |flags: &[&str]| {
        let mut command = program("lm_wikitext");
        command.args(SMALL.split_whitespace()).args(["--context", "8"]).args(flags);
        command.args(["--data", &path_of(&text), "--out", &path_of(&out)]).output().unwrap()
    };
    for flags in [
        ["--variant=transformer", "--variant=svformer"],
        ["--neutreno-lambda=0.2", "--neutreno-lambda=0.4"],
        ["--resformer-kind=sparse", "--resformer-kind=learnable"],
        ["--seed=2", "--seed=3"],
    ] {
        let again = flags[0].split('=').next().unwrap();
        let output = begin(&flags);
        let said = said(&output);
        assert!(said.contains(again) && said.contains("is typed twice"), "{said}");
        assert!(!output.status.success() && !out.exists());
    }
    // What was typed for a run is replaced by what is typed when it goes on.
    assert!(begin(&["--variant=svformer"]).status.success());
    let resume = |program_: &str, flags: &[&str]| {
        program(program_).args(["--resume", &path_of(&out)]).args(flags).output().unwrap()
    };
    let output = resume("lm_wikitext", &["--steps", "3", "--quiet"]);
    assert!(output.status.success(), "{}", said(&output));
    // Other programs say whose run it is, instead of complaining of flags that nobody typed.
    let said = said(&resume("image_classification", &[]));
    assert!(said.contains("lm_wikitext --resume"), "{said}");
}
