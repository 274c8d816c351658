use super::*;
use crate::data::load;
use tempfile::TempDir;

/// A folder with the files of `names`; one that ends in png holds a grey picture that differs from the others.
fn folder(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in names.iter().enumerate() {
        let path = dir.path().join(name);
        fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if has_picture_name(&path) {
            let grey = image::ImageBuffer::from_pixel(12, 10, image::Luma([i as u8]));
            grey.save_with_format(path, image::ImageFormat::Png).unwrap();
        } else if !name.ends_with('/') {
            fs::write(path, "text").unwrap();
        }
    }
    dir
}

fn recipe(dir: &TempDir) -> DataRecipe {
    DataRecipe { path: Some(dir.path().to_owned()), img_size: Some(8), ..DataRecipe::default() }
}

fn error(names: &[&str]) -> String {
    format!("{:#}", load(&recipe(&folder(names)), &|_, _| ()).unwrap_err())
}

fn sizes(names: &[&str]) -> [usize; 3] {
    let dataset = load(&recipe(&folder(names)), &|_, _| ()).unwrap();
    [dataset.train.len(), dataset.val.len(), dataset.test.len()]
}

/// `count` names of pictures in `prefix`.
fn many(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}/{i:02}.png")).collect()
}

fn refs(names: &[Vec<String>]) -> Vec<&str> {
    names.iter().flatten().map(String::as_str).collect()
}

#[test]
fn a_folder_without_parts_is_split() {
    let names = [many("cat", 20), many("dog", 10)];
    let dir = folder(&refs(&names));
    let dataset = load(&recipe(&dir), &|_, _| ()).unwrap();
    assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (14 + 7, 2 + 1, 4 + 2));
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(dataset.test.labels, [0, 0, 0, 0, 1, 1]);
    let mut greys: Vec<u8> = [&dataset.train, &dataset.val, &dataset.test]
        .into_iter()
        .flat_map(|split| (0..split.len()).map(|i| split.image(i)[0]))
        .collect();
    greys.sort();
    assert_eq!(greys, (0..30).collect::<Vec<u8>>(), "every picture is in one part");
    assert_eq!(dataset.hash, load(&recipe(&dir), &|_, _| ()).unwrap().hash);
}

#[test]
fn parts_are_taken_as_given_and_drawn_where_missing() {
    let part = |part: &str, count| refs_of(part, count);
    let (train, val, test) = (part("train", 10), part("Validation", 4), part("test", 3));
    let all = |lists: &[&Vec<String>]| lists.iter().flat_map(|list| list.iter().cloned()).collect::<Vec<_>>();
    let sizes = |names: Vec<String>| sizes(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(sizes(all(&[&train, &val, &test])), [20, 8, 6]);
    assert_eq!(sizes(all(&[&train, &test])), [18, 2, 6]);
    assert_eq!(sizes(all(&[&train, &val])), [18, 2, 8], "val becomes the test set");
    assert_eq!(sizes(train), [14, 2, 4]);
}

fn refs_of(part: &str, count: usize) -> Vec<String> {
    [many(&format!("{part}/a"), count), many(&format!("{part}/b"), count)].concat()
}

#[test]
fn classes_of_a_few_pictures_are_in_every_part_or_refused() {
    let of = |count: usize| [many("a", count), many("b", 30)];
    for (count, expected) in [(1, "class a has only 1 picture ("), (2, "class a has only 2 pictures (")] {
        let message = error(&refs(&of(count)));
        assert!(message.contains(expected) && message.contains("at least 3 are needed"), "{message}");
    }
    // Of 30 pictures, 6 are for the test, and of the rest 2 for validation.
    for (count, a) in [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1])] {
        assert_eq!(sizes(&refs(&of(count))), [22 + a[0], 2 + a[1], 6 + a[2]], "{count}");
    }
    // With a test folder, two are enough.
    let test = [many("train/a", 2), many("train/b", 9), many("test/a", 1), many("test/b", 1)];
    assert_eq!(sizes(&refs(&test)), [1 + 8, 1 + 1, 2]);
}

#[test]
fn a_class_may_be_called_train() {
    let dataset = load(&recipe(&folder(&refs(&[many("train", 3), many("car", 3)]))), &|_, _| ()).unwrap();
    assert_eq!(dataset.classes, ["car", "train"]);
}

fn notes(names: &[&str]) -> String {
    let dir = folder(names);
    let found = Folder::scan(dir.path(), &recipe(&dir)).unwrap();
    assert_eq!((found.classes.join(" "), found.problems), ("a b".to_owned(), vec![]));
    found.notes.join("\n")
}

#[test]
fn pictures_beside_class_folders_are_passed_over_in_every_part() {
    let parts = [refs_of("train", 10), refs_of("val", 4), refs_of("test", 3)];
    let with = |strays: &[&'static str]| [refs(&parts), strays.to_vec()].concat();
    for strays in [&["train/cover.png"][..], &["val/x.png"], &["train/x.png", "val/x.png", "test/x.png"]] {
        assert_eq!(sizes(&with(strays)), [20, 8, 6], "{strays:?}");
        assert!(notes(&with(strays)).contains("1 pictures in "), "{strays:?}");
    }
    assert!(notes(&with(&["cover.png"])).contains("1 pictures in "));
    // Beside another class, it is one itself.
    let dataset = load(&recipe(&folder(&refs(&[many("train", 3), many("train/old", 3), many("car", 3)]))), &|_, _| ());
    assert_eq!(dataset.unwrap().classes, ["car", "train"]);
}

#[test]
fn a_part_without_classes_is_told_from_another_folder() {
    let parts = [refs_of("train", 10), refs_of("val", 4)];
    let with = |more: &[&str]| notes(&[refs(&parts), more.to_vec()].concat());
    let empty = with(&["test/", "extra/"]);
    assert!(empty.contains("test is empty: passed over") && empty.contains("val is the test set"), "{empty}");
    assert!(empty.contains("extra is none of train, val and test"), "{empty}");
    let unsorted = with(&["test/0.png"]);
    assert!(unsorted.contains("test holds pictures but no folders: passed over"), "{unsorted}");
}

#[test]
fn other_and_hidden_files_are_passed_over() {
    let mut names = refs(&[many("a", 3), many("b", 3)]).into_iter().map(str::to_owned).collect::<Vec<_>>();
    names.extend(["README.txt", "a/notes.txt", "a/.hidden.png", ".git/x.png", "b/UPPER.PNG"].map(str::to_owned));
    assert_eq!(sizes(&names.iter().map(String::as_str).collect::<Vec<_>>()), [3, 2, 2]);
}

#[test]
fn what_cannot_be_trained_on_is_named() {
    let b = many("b", 5);
    let with_b = |names: &[&str]| {
        let all: Vec<&str> = names.iter().copied().chain(b.iter().map(String::as_str)).collect();
        error(&all)
    };
    let cases = [
        (with_b(&["empty/"]), "empty holds no pictures"),
        (with_b(&["a/0.png", "a/1.png"]), "class a has only 2 pictures"),
        (with_b(&["a/deep/0.png"]), "a holds folders instead of pictures"),
        (with_b(&[]), "only one class"),
        (error(&["0.png"]), "one folder per class"),
        (error(&["notes.txt"]), "holds no dataset"),
        (error(&refs(&[refs_of("train", 4), refs_of("val", 2), many("val/c", 2)])), "train does not have: c"),
        (error(&refs(&[refs_of("test", 4)])), "no folder train beside it"),
        (error(&refs(&[refs_of("val", 4), many("train", 2)])), "train holds pictures but no folders, while"),
        (error(&refs(&[refs_of("val", 4), vec!["train/".into()]])), "train is empty, while"),
        (with_b(&["a\nb/0.png"]), "a\\nb\" holds a control character or a line break: rename it"),
        (
            error(&refs(&[refs_of("train", 4), many("train/a\rb", 4)])),
            "a\\rb\" holds a control character or a line break: rename it",
        ),
        (error(&refs(&[refs_of("train", 4), refs_of("val", 2), refs_of("valid", 2)])), "are both for val"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "expected {expected:?} in: {message}");
    }
}

#[test]
fn unreadable_pictures_are_all_listed() {
    let dir = folder(&refs(&[many("a", 5), many("b", 5)]));
    fs::write(dir.path().join("a/02.png"), "no picture").unwrap();
    fs::write(dir.path().join("b/04.png"), "").unwrap();
    let message = format!("{:#}", load(&recipe(&dir), &|_, _| ()).unwrap_err());
    assert!(message.contains("2 pictures") && message.contains("a/02.png is no JPEG"), "{message}");
    assert!(message.contains("b/04.png is empty"), "{message}");
}

#[test]
fn runs_and_what_systems_put_beside_photos_are_no_classes() {
    let photos = [many("a", 3), many("b", 3)];
    let beside =
        ["runs/cnn/recipe.toml", "runs/cnn/best.safetensors", "runs/cnn-2/", "model/model.plan", "__MACOSX/a/._0.png"];
    let more = ["@eaDir/0.png", "$RECYCLE.BIN/0.png", "lost+found/", "a/@eaDir/0.png", "Thumbs.db", ".cats/0.png"];
    let names: Vec<&str> = refs(&photos).into_iter().chain(beside).chain(more).collect();
    assert_eq!(sizes(&names), [2, 2, 2]);
    let notes = notes(&names);
    for part in [
        "runs is a run or a model of Ocellus: passed over",
        "model is a run or a model of Ocellus",
        "__MACOSX is the system's",
        "a/@eaDir is the system's",
        "$RECYCLE.BIN is",
        "lost+found is",
        "1 files in",
        ".cats has a name that begins with a dot: passed over",
    ] {
        assert!(notes.contains(part), "{part:?} is not in {notes}");
    }
    // Beside parts, too, and in them.
    let parts = [refs_of("train", 4), refs_of("test", 2)];
    let names: Vec<&str> = refs(&parts).into_iter().chain(["runs/x/recipe.toml", "train/@eaDir/0.png"]).collect();
    assert_eq!(sizes(&names), [6, 2, 4]);
}

#[test]
fn parts_have_other_names() {
    for [train, val, test] in [
        ["training", "valid", "testing"],
        ["Training_Set", "validation_set", "test_set"],
        ["trainset", "valset", "testset"],
    ] {
        let names = [refs_of(train, 4), refs_of(val, 3), refs_of(test, 2)];
        assert_eq!(sizes(&refs(&names)), [8, 6, 4], "{train}");
    }
}

#[test]
fn a_class_without_test_pictures_has_no_support() {
    for extra in [None, Some("test/b/")] {
        let names = [refs_of("train", 4), many("test/a", 2)];
        let names: Vec<&str> = refs(&names).into_iter().chain(extra).collect();
        let dataset = load(&recipe(&folder(&names)), &|_, _| ()).unwrap();
        assert_eq!((dataset.classes.join(" "), dataset.test.labels), ("a b".to_owned(), vec![0, 0]));
        assert!(notes(&names).contains("figures"), "{extra:?}");
    }
}

#[test]
fn every_name_of_a_jpeg_is_known() {
    let names = ["a/0.jpg", "a/1.JPEG", "a/2.jpe", "b/3.jfif", "b/4.png", "b/5.JFIF"];
    assert_eq!(sizes(&names), [2, 2, 2]);
}

#[test]
fn names_that_look_the_same_meet_or_are_told_apart() {
    let (one, other) = ("caf\u{e9}", "cafe\u{301}");
    let names =
        [refs_of("train", 4), many(&format!("train/{one}"), 4), refs_of("test", 2), many(&format!("test/{other}"), 2)];
    let dataset = load(&recipe(&folder(&refs(&names))), &|_, _| ()).unwrap();
    assert_eq!((dataset.classes.join(" "), dataset.test.labels), (format!("a b {one}"), vec![0, 0, 1, 1, 2, 2]));
    let message = error(&refs(&[many(one, 4), many(other, 4)]));
    assert!(message.contains("look the same") && message.contains("cafe\\u{301} and caf\\u{e9}"), "{message}");
}

#[test]
fn names_that_a_terminal_obeys_are_refused_as_they_are() {
    for name in ["a\x1b[31m/0.png", "a\n/0.png", "a\u{202e}/0.png"] {
        let message = error(&refs(&[many("b", 4), vec![name.to_owned()]]));
        assert!(message.contains("control character") && !message.contains(view::is_obeyed), "{message}");
    }
}
