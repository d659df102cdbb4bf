//! Archives: the files that are wanted are taken out of a `.tar.gz`, whatever else is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::{Fetched, Remote, cannot_write, digest};
use crate::dataset::DatasetError;

/// The members that are there already, if all are. Their own digests are not written down; the
/// loaders check their content.
pub(super) fn kept(remote: &Remote, folder: &Path) -> Option<Vec<Fetched>> {
    let member = |name: &&str| {
        let path = folder.join(name);
        let (sha256, bytes) = digest(&path).ok()?;
        let from = format!("{}, file {name}", remote.urls[0]);
        Some(Fetched { path, from, bytes, sha256, kept: true })
    };
    remote.members.iter().map(member).collect()
}

/// Unpacks the members into `folder`. No path of the archive is used, only the last part of it, and
/// only where it is the name of a member.
pub(super) fn unpack(
    archive: &Path,
    url: &str,
    remote: &Remote,
    folder: &Path,
) -> Result<Vec<Fetched>, DatasetError> {
    let failed = |source| DatasetError::Io { doing: "unpack", path: archive.to_owned(), source };
    let file = BufReader::new(File::open(archive).map_err(failed)?);
    let mut fetched = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(file)).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?;
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(member) = remote.members.iter().find(|member| name == Some(**member)) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = folder.join(member);
        let mut whole = tempfile::NamedTempFile::new_in(folder).map_err(cannot_write(folder))?;
        let bytes = io::copy(&mut entry, &mut whole).map_err(failed)?;
        whole.persist(&path).map_err(|error| cannot_write(&path)(error.error))?;
        let (sha256, _) = digest(&path).map_err(failed)?;
        let from = format!("{url}, file {member}");
        fetched.insert(*member, Fetched { path, from, bytes, sha256, kept: false });
    }
    if let Some(absent) = remote.members.iter().find(|member| !fetched.contains_key(**member)) {
        let reason = format!("the archive has no file {absent}");
        return Err(DatasetError::Download { url: url.to_owned(), reason });
    }
    Ok(fetched.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::super::format::tests::gzip;
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        gzip(&builder.into_inner().unwrap())
    }

    const REMOTE: Remote = Remote {
        urls: &["http://127.0.0.1/cifar.tar.gz"],
        sha256: "",
        members: &["train.bin", "test.bin"],
    };

    #[test]
    fn the_members_are_unpacked_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let files: [(&str, &[u8]); 3] =
            [("cifar/readme.html", b"x"), ("cifar/train.bin", b"abc"), ("cifar/test.bin", b"de")];
        fs::write(&path, archive(&files)).unwrap();
        let to = folder.path().join("cifar100");
        fs::create_dir(&to).unwrap();
        assert!(kept(&REMOTE, &to).is_none());
        let fetched = unpack(&path, "http://127.0.0.1/x", &REMOTE, &to).unwrap();
        assert_eq!(fetched.len(), 2);
        assert_eq!(fs::read(to.join("train.bin")).unwrap(), b"abc");
        assert_eq!(fs::read(to.join("test.bin")).unwrap(), b"de");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
        assert!(kept(&REMOTE, &to).unwrap().iter().all(|file| file.kept));
    }

    #[test]
    fn an_archive_without_a_member_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        fs::write(&path, archive(&[("train.bin", b"abc")])).unwrap();
        let error = unpack(&path, "http://127.0.0.1/x", &REMOTE, folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot download http://127.0.0.1/x: the archive has no file test.bin"
        );
    }
}
