//! A user's own data: trained on, moved, changed, broken.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use super::{Place, check, said};

const JOB: &str = r#"
name = "own"
seeds = [0]

[stage.folders.pretrain]
model.mlp = { hidden = [16] }
data.image-folder = { path = "photos", classes = ["dark", "bright"], size = [4, 4], batch-size = 8 }
epochs = 3
optimizer.sgd = { learning-rate = 0.1 }

[stage.masks.pretrain]
model.layers = [{ conv2d = { channels = 4, kernel = 1 } }, { relu = {} }, { classifier = { per-pixel = true } }]
data.mask-folder = { path = "streets", classes = ["dark", "bright"], size = [6, 6], batch-size = 4 }
epochs = 8
optimizer.sgd = { learning-rate = 0.5 }

[stage.rows.pretrain]
model.mlp = { hidden = [8] }
epochs = 10
optimizer.sgd = { learning-rate = 0.1 }

[stage.rows.pretrain.data.csv]
path = "tables/rows.csv"
label = "kind"
classes = ["low", "high"]
features = 2
domain = { column = "site", value = "north" }
batch-size = 8

[stage.south.adapt]
from = "rows"
method.coral = {}
epochs = 1
source.csv = NORTH
target.csv = SOUTH
"#;

/// The job, with both domains of the table written out.
fn job(photos: &str) -> String {
    let rows = |site: &str| {
        format!(
            r#"{{ path = "tables/rows.csv", label = "kind", classes = ["low", "high"], features = 2, domain = {{ column = "site", value = "{site}" }}, batch-size = 8 }}"#
        )
    };
    JOB.replace("\"photos\"", &format!("{photos:?}"))
        .replace("NORTH", &rows("north"))
        .replace("SOUTH", &rows("south"))
}

fn png(path: &Path, side: u32, pixels: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
}

pub(super) fn write_data(root: &Path) {
    for (split, count) in [("train", 40_u8), ("test", 10)] {
        for index in 0..count {
            let name = format!("{index:02}.png");
            for (class, value) in [("dark", 30), ("bright", 200)] {
                let pixels = [value + index; 64];
                png(&root.join("photos").join(split).join(class).join(&name), 8, &pixels);
            }
            // The left half is dark, and a column of it has no class.
            let pixel = |at: u8| if at % 6 < 3 { 20 + index } else { 210 };
            let class = |at: u8| if at.is_multiple_of(6) { 255 } else { u8::from(at % 6 >= 3) };
            let streets = root.join("streets").join(split);
            png(&streets.join("images").join(&name), 6, &(0..36).map(pixel).collect::<Vec<_>>());
            png(&streets.join("masks").join(&name), 6, &(0..36).map(class).collect::<Vec<_>>());
        }
    }
    let mut table = "site,kind,a,b\n".to_owned();
    for index in 0..60 {
        let (site, shift) = if index % 3 == 0 { ("south", 1.0) } else { ("north", 0.0) };
        let (kind, value) = if index % 2 == 0 { ("low", -2.0) } else { ("high", 2.0) };
        writeln!(table, "{site},{kind},{},{}", value + shift, f64::from(index) / 10.0).unwrap();
    }
    fs::create_dir_all(root.join("tables")).unwrap();
    fs::write(root.join("tables/rows.csv"), table).unwrap();
}

#[test]
fn a_users_own_data_is_trained_on_and_its_content_decides() {
    let Some(place) = Place::new() else { return };
    let root = place.folder.path();
    write_data(root);
    place.write(&job("photos"));
    check(&place.run("results", &[]), &[("folders", 1), ("masks", 1), ("rows", 1), ("south", 1)]);
    let ledger = graftwork::ledger::Ledger::open_read_only(&root.join("results/ledger.sqlite"));
    let query = "SELECT name.name, max(value) FROM metric \
                 JOIN metric_name AS name ON name.id = metric.name GROUP BY 1";
    let best = ledger.unwrap().query(query).unwrap();
    for metric in
        ["image-folder:test/accuracy", "mask-folder:test/mean-iou", "csv-north:test/accuracy"]
    {
        let row = best.rows.iter().find(|row| row[0].as_str() == Some(metric));
        let value = row.and_then(|row| row[1].as_f64());
        assert!(value.is_some_and(|value| value > 0.95), "{metric}: {value:?}");
    }
    // Moved: nothing runs. Changed by one pixel: what reads it does.
    fs::create_dir(root.join("deep")).unwrap();
    fs::rename(root.join("photos"), root.join("deep/photographs")).unwrap();
    place.write(&job("deep/photographs"));
    check(&place.run("results", &[]), &[]);
    let mut pixels = [230; 64];
    pixels[7] = 0;
    png(&root.join("deep/photographs/train/bright/00.png"), 8, &pixels);
    check(&place.run("results", &[]), &[("folders", 1)]);
    png(&root.join("streets/train/masks/00.png"), 6, &[1; 36]);
    check(&place.run("results", &[]), &[("masks", 1)]);
    let path = root.join("tables/rows.csv");
    let changed = fs::read_to_string(&path).unwrap().replacen(",0.1\n", ",0.15\n", 1);
    fs::write(&path, changed).unwrap();
    check(&place.run("results", &[]), &[("rows", 1), ("south", 1)]);
}

#[test]
fn a_users_own_data_that_is_broken_is_named() {
    let Some(place) = Place::new() else { return };
    let root = place.folder.path();
    write_data(root);
    place.write(&job("photos"));
    let refuses = |expected: &str| {
        let output = place.command("results", &["run", "job.toml", "--device", "cpu"]).output();
        let output = output.unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    fs::write(root.join("photos/train/dark/03.png"), "no image").unwrap();
    refuses("photos/train/dark/03.png, image: ");
    png(&root.join("photos/train/dark/03.png"), 8, &[33; 64]);
    png(&root.join("streets/test/masks/04.png"), 6, &[7; 36]);
    refuses("streets/test/masks/04.png, row 1, column 1: 7; expected a class from 0 to 1");
    png(&root.join("streets/test/masks/04.png"), 6, &[1; 36]);
    let table = root.join("tables/rows.csv");
    let text = fs::read_to_string(&table).unwrap();
    fs::write(&table, text.replacen(",0.1\n", ",\n", 1)).unwrap();
    refuses("rows.csv, line 3, column `b`: ``; expected a finite number");
    fs::write(&table, text).unwrap();
    fs::rename(root.join("photos"), root.join("pictures")).unwrap();
    refuses("is the folder \"photos\", which is not there");
    fs::write(root.join("photos"), "").unwrap();
    refuses("`data.image-folder.path` is a folder, and \"photos\" is a file");
}
