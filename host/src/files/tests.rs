use super::*;

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn places_are_tried_without_a_trace() {
    let room = tempfile::tempdir().unwrap();
    let at = |name: &str| room.path().join(name);
    fs::write(at("a"), "file").unwrap();
    check_file(&at("a")).unwrap();
    check_file(&at("b")).unwrap();
    check_folder(&at("new/er")).unwrap();
    check_folder(room.path()).unwrap();
    assert_eq!(count(room.path()), 1);
    assert_eq!(fs::read(at("a")).unwrap(), b"file");
    for (error, parts) in [
        (check_file(&at("no/b")).unwrap_err(), ["no/b", "may you write there?"]),
        (check_file(room.path()).unwrap_err(), ["cannot write", "is a folder"]),
        (check_folder(&at("a/b/c")).unwrap_err(), ["a/b/c", "/a is no folder"]),
        (check_folder(Path::new("/proc/none")).unwrap_err(), ["/proc/none", "may you write there?"]),
    ] {
        let error = format!("{error:#}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::create_dir_all(path.join("inside")).unwrap();
    let message = format!("{:#}", write(&path, b"bytes").unwrap_err());
    assert!(message.contains("taken") && message.contains("is a folder"), "{message}");
    let other = folder.path().join("other");
    write_together(&[(other, b"bytes"), (path, b"bytes")]).unwrap_err();
    assert_eq!(count(folder.path()), 1, "all or none");
    assert!(write(&folder.path().join("no/folder"), b"bytes").is_err());
}

#[test]
fn what_a_killed_write_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let others = ["mine", ".ocellus-unfinished-", ".ocellus-unfinished-notes of mine", ".unfinished-abcdef"];
    others.iter().for_each(|name| fs::write(at(name), "").unwrap());
    fs::write(at(".ocellus-unfinished-aB3dEf"), "half").unwrap();
    let in_progress = Unfinished::beside(&at("x"), b"whole").unwrap();
    remove_unfinished(folder.path());
    assert!(!at(".ocellus-unfinished-aB3dEf").exists());
    assert_eq!(count(folder.path()), others.len() + 1);
    in_progress.replace(&at("x")).unwrap();
    // The next file that is written there removes it, too.
    fs::write(at(".ocellus-unfinished-aB3dEf"), "half").unwrap();
    write(&at("x"), b"new").unwrap();
    assert_eq!((fs::read(at("x")).unwrap(), count(folder.path())), (b"new".to_vec(), others.len() + 1));
}

#[test]
fn names_are_reserved_when_they_are_chosen() {
    let room = tempfile::tempdir().unwrap();
    let runs = room.path().join("runs");
    let choose = || reserve(["a", "a-2", "a-3"].map(|name| runs.join(name)), "full");
    let (first, second) = (choose().unwrap(), choose().unwrap());
    assert_eq!([first.path(), second.path()], [runs.join("a"), runs.join("a-2")]);
    fs::write(second.path().join("result"), "").unwrap();
    drop((first, second));
    assert!(!runs.join("a").exists() && runs.join("a-2").exists(), "what nothing was put into is gone");
    let all = [choose().unwrap(), choose().unwrap()];
    assert_eq!(choose().unwrap_err().to_string(), "full");
    assert_eq!(all.each_ref().map(Reserved::path), [runs.join("a"), runs.join("a-3")]);
    drop(all);
    fs::remove_dir_all(&runs).unwrap();
    drop(choose().unwrap());
    assert_eq!(count(room.path()), 0);
}

#[test]
fn many_processes_reserve_different_names() {
    let room = tempfile::tempdir().unwrap();
    let runs = room.path().join("runs");
    let choose = || reserve((0..).map(|n| runs.join(n.to_string())), "").unwrap();
    let chosen: Vec<Reserved> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| [(); 8].map(|()| choose()))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let paths: std::collections::BTreeSet<&Path> = chosen.iter().map(Reserved::path).collect();
    assert_eq!(paths.len(), 64);
}

#[test]
fn writers_of_one_folder_do_not_take_each_others_files() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = folder.path().join(writer.to_string());
            scope.spawn(move || (0..50).for_each(|_| write(&path, &[writer; 1000]).unwrap()));
        }
    });
    for writer in 0..4u8 {
        assert_eq!(fs::read(folder.path().join(writer.to_string())).unwrap(), [writer; 1000]);
    }
    assert_eq!(count(folder.path()), 4);
}

#[cfg(unix)]
mod special {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    #[test]
    fn links_stay_and_their_targets_are_replaced() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::create_dir(at("far")).unwrap();
        fs::write(at("far/file"), "old").unwrap();
        symlink("far/file", at("link")).unwrap();
        symlink("link", at("link to link")).unwrap();
        symlink("far/new", at("dangling")).unwrap();
        for (link, target) in [("link to link", "far/file"), ("dangling", "far/new")] {
            write(&at(link), b"new").unwrap();
            check_file(&at(link)).unwrap();
            assert!(at(link).is_symlink() && at("link").is_symlink());
            assert_eq!(fs::read(at(target)).unwrap(), b"new");
            assert!(!at(target).is_symlink());
        }
        symlink("circle", at("circle")).unwrap();
        assert!(format!("{:#}", write(&at("circle"), b"").unwrap_err()).contains("circle"));
        assert_eq!(count(&at("far")), 2);
    }

    #[test]
    fn what_is_no_regular_file_is_written_into() {
        let room = tempfile::tempdir().unwrap();
        let pipe = room.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        check_file(&pipe).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        write(Path::new("/dev/null"), b"nothing").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(write(Path::new("/dev/full"), b"too much").is_err());
        assert_eq!(count(room.path()), 1);
    }

    #[test]
    fn descriptors_are_known_by_all_their_names() {
        for (name, place) in [
            ("/dev/stdout", Some(Place::Stdout)),
            ("/dev/fd/1", Some(Place::Stdout)),
            ("/proc/self/fd/1", Some(Place::Stdout)),
            ("/dev/stderr", Some(Place::Stderr)),
            ("/dev/null", Some(Place::Stream("/dev/null".into()))),
        ] {
            assert_eq!(Place::of(Path::new(name)).ok(), place, "{name}");
        }
        // A shell's `>(...)` is such a name.
        let pipe = std::io::pipe().unwrap();
        let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe.1));
        write(Path::new(&name), b"through").unwrap();
        drop(pipe.1);
        assert_eq!(std::io::read_to_string(pipe.0).unwrap(), "through");
    }

    #[test]
    fn rights_stay() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("private");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
