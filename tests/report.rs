//! The program `report`: a run's page anew, and its figures as files that stand alone.

mod common;

use common::programs::{SMALL, path_of, program, said, text_file};
use neutreno::run::read_metrics;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

/// A small run of two variants and two seeds, measured twice.
fn trained(folder: &Path) {
    let mut command = program("lm_wikitext");
    // A list of variants is typed once.
    let small = SMALL.replace("--variant transformer", "");
    command.args(small.split_whitespace());
    let more = "--variant neutreno,svformer --seeds 2 --steps 8 --eval-every 4 --measure-every 4";
    command.args(more.split_whitespace()).args(["--data", &path_of(&text_file(folder))]);
    let output = command.arg("--out").arg(folder.join("run")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn report(folder: &Path, arguments: &str) -> Output {
    let mut command = program("report");
    command.current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

/// The lines of a CSV file below the first, by the cells that say what they are of, with the next one.
fn csv(path: &Path) -> (String, BTreeMap<Vec<String>, f64>) {
    let text = fs::read_to_string(path).unwrap();
    let (head, lines) = text.split_once('\n').unwrap();
    let keys = head.split(',').position(|name| name == "mean").expect("a column of means");
    let line = |line: &str| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        (cells[..keys].to_vec(), cells[keys].parse().unwrap())
    };
    (head.into(), lines.lines().map(line).collect())
}

#[test]
fn every_figure_is_a_picture_that_stands_alone_with_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trained(folder);
    let output = report(folder, "run --figures figures");
    assert!(output.status.success(), "{}", said(&output));
    let names = |kind: &str| {
        let entries = fs::read_dir(folder.join("figures")).unwrap();
        let name = |path: std::path::PathBuf| {
            let matches = path.extension().is_some_and(|found| found == kind);
            matches.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned())
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| name(entry.unwrap().path())).collect();
        names.sort();
        names
    };
    let all = names("svg");
    assert!(all == names("png") && all == names("csv"));
    for expected in [
        "training_loss",
        "validation_loss",
        "relative_loss",
        "gradient_norm",
        "token_similarity",
        "token_similarity_over_training",
        "token_similarity_by_block_and_step",
        "attention_concentration_by_head",
    ] {
        // Without a Transformer the first variant is what the others are compared with.
        assert!(all.iter().any(|name| name == expected), "{expected} in {all:?}");
    }
    for name in &all {
        let file = |kind: &str| folder.join("figures").join(format!("{name}.{kind}"));
        let svg = fs::read_to_string(file("svg")).unwrap();
        // On white ground, with words, and nothing from elsewhere.
        assert!(svg.starts_with("<svg") && svg.contains("fill=\"#FFFFFF\""), "{name}");
        assert!(
            svg.contains("SVFormer") && !svg.contains("href") && !svg.contains("NaN"),
            "{name}"
        );
        let png = image::open(file("png")).unwrap().into_rgba8();
        assert_eq!(png.width(), 1890, "{name}");
        // Nothing is transparent, and the title's letters are there: its row is not blank.
        assert!(png.pixels().all(|pixel| pixel.0[3] == 255), "{name}");
        let title = image::imageops::crop_imm(&png, 0, 0, 600, 80).to_image();
        let dark = title.pixels().filter(|pixel| pixel.0[0] < 120).count();
        assert!(dark > 200, "{name}: {dark} dark pixels");
        let (head, lines) = csv(&file("csv"));
        assert!(head.contains(",variant,") || head.ends_with("variant,mean"), "{name}: {head}");
        assert!(!lines.is_empty(), "{name}");
    }
    // The numbers are those of metrics.jsonl, the means over seeds.
    let metrics = ["neutreno-seed1", "neutreno-seed2"]
        .map(|model| read_metrics(&folder.join("run").join(model).join("metrics.jsonl")).unwrap());
    let mean = |number: &dyn Fn(&neutreno::run::Metric) -> f64, step: usize| {
        metrics.iter().map(|lines| number(&lines[step - 1])).sum::<f64>() / 2.0
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let key = |key: &[&str]| key.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    let at = |name: &str| folder.join("figures").join(format!("{name}.csv"));
    let (head, lines) = csv(&at("validation_loss"));
    assert_eq!(head, "step,variant,mean,deviation,seeds");
    assert_eq!(lines.len(), 2 * 2);
    let loss = |line: &neutreno::run::Metric| line.values.number("validation_loss");
    near(lines[&key(&["8", "neutreno"])], mean(&loss, 8));
    let measured = |name: &'static str, index: usize| {
        move |line: &neutreno::run::Metric| {
            line.values.get("measured").unwrap()[name][index].as_f64().unwrap()
        }
    };
    let (head, lines) = csv(&at("token_similarity_by_block_and_step"));
    assert_eq!(head, "step,block,variant,mean");
    // The embedding and two blocks, at two steps, of two variants.
    assert_eq!(lines.len(), 3 * 2 * 2);
    near(lines[&key(&["4", "2", "neutreno"])], mean(&measured("token_similarity", 2), 4));
    let (head, lines) = csv(&at("first_token_importance_by_head"));
    assert_eq!(head, "head,block,variant,mean");
    assert_eq!(lines.len(), 2 * 2 * 2);
    let name = "first_token_importance_by_head";
    near(lines[&key(&["1", "2", "neutreno"])], mean(&measured(name, 2), 8));
    // What all heads of a block get is the mean of what each gets.
    let both = ["1", "2"].map(|head| lines[&key(&[head, "2", "neutreno"])]);
    near((both[0] + both[1]) / 2.0, mean(&measured("first_token_importance", 1), 8));
}

#[test]
fn some_figures_the_page_and_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trained(folder);
    let output = report(folder, "run --figures some --only validation_loss --pixels 400");
    assert!(output.status.success(), "{}", said(&output));
    // Three files, and what they are.
    assert_eq!(fs::read_dir(folder.join("some")).unwrap().count(), 4);
    assert_eq!(image::open(folder.join("some/validation_loss.png")).unwrap().width(), 400);
    let page = fs::read(folder.join("run/report.html")).unwrap();
    fs::remove_file(folder.join("run/report.html")).unwrap();
    assert!(report(folder, "run").status.success());
    assert_eq!(fs::read(folder.join("run/report.html")).unwrap(), page);
    for (arguments, why) in [
        ("nowhere", "nowhere is not the folder of a run"),
        ("run --figures some", "some is there already, and was left as it is"),
        (
            "run --figures new --only loss",
            "--only loss: there is no such figure. There are: training_loss",
        ),
        ("run --only training_loss", "--figures"),
        ("run --figures new --pixels 5", "--pixels"),
    ] {
        let output = report(folder, arguments);
        assert!(!output.status.success() && said(&output).contains(why), "{}", said(&output));
        assert!(!folder.join("new").exists());
    }
    // Before the first model is trained there is nothing to show.
    fs::remove_file(folder.join("run/summary.json")).unwrap();
    let said = said(&report(folder, "run"));
    assert!(said.contains("has no summary.json yet"), "{said}");
}
