//! Files of a node's state: whole files as they lie there, and contents under a header that is right.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use common::disk;
use common::identity::file;
use common_fuzz::take_byte;

const KIND: &str = "identity";

/// In memory where the machine has that: `save` waits for the disk.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
    let folder = parent.join(format!("swarm-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for one file");
    folder
});

pub fn run(mut data: &[u8]) {
    let path = FOLDER.join("file");
    if take_byte(&mut data) % 2 == 0 {
        std::fs::write(&path, data).expect("the folder can be written to");
        if let Ok(Some((format, content))) = disk::load(&path, KIND) {
            assert!(data.ends_with(&content) && format < u32::MAX);
        }
    } else {
        disk::save(&path, KIND, 1, data).expect("the folder can be written to");
        let (format, content) = disk::load(&path, KIND).expect("it was written whole").expect("it is there");
        assert!(format == 1 && content == data);
    }
    let _ = file::load(&path);
    // One file is all there ever is: nothing piles up, whichever way this program ends.
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_dir(&*FOLDER);
    let _ = std::fs::create_dir(&*FOLDER);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let path = FOLDER.join("file");
    disk::save(&path, KIND, 1, b"content").expect("the folder can be written to");
    let whole = std::fs::read(&path).expect("it is there");
    let _ = std::fs::remove_dir_all(&*FOLDER);
    let sections = "# node certificate\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n# root certificate\nx\n# private key\ny\n# wrapped data key, base64\nAAAA\n";
    vec![[&[0], &whole[..]].concat(), [&[1], sections.as_bytes()].concat()]
}
