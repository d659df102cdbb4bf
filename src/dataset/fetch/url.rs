//! A file at its owner's address, with resume.
//!
//! What has arrived lies in `FILE.DIGEST.part` until it is whole and its SHA-256 is right; a fetch
//! that was cut off goes on where it stopped, if the server can do that.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use super::{Fetched, Progress, Remote, archive, cannot_write, digest, file_name, kept};
use crate::dataset::DatasetError;

/// No dataset's file is larger; a server that goes on is not believed.
const LIMIT: u64 = 1 << 30;

/// Gets a file, or the members of an archive, from the first of its addresses that works.
pub(super) fn fetch(
    remote: &Remote,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Fetched>, DatasetError> {
    let path = folder.join(file_name(remote.urls[0]));
    if remote.members.is_empty() {
        if let Some(fetched) = kept(&path, remote.urls[0], remote.sha256) {
            return Ok(vec![fetched]);
        }
    } else if let Some(fetched) = archive::kept(remote, folder) {
        return Ok(fetched);
    }

    fs::create_dir_all(folder).map_err(cannot_write(folder))?;
    let mut part = path.clone().into_os_string();
    part.push(format!(".{}.part", &remote.sha256[..8]));
    let part = PathBuf::from(part);
    let (url, bytes) = first_that_works(remote, &part, progress)?;
    let from = url.to_owned();
    if remote.members.is_empty() {
        fs::rename(&part, &path).map_err(cannot_write(&path))?;
        let sha256 = remote.sha256.to_owned();
        return Ok(vec![Fetched { path, from, bytes, sha256, kept: false }]);
    }
    let fetched = archive::unpack(&part, &from, remote, folder)?;
    fs::remove_file(&part).map_err(cannot_write(&part))?;
    Ok(fetched)
}

/// The address that worked and the size of the file, which is in `part` and is right.
fn first_that_works(
    remote: &Remote,
    part: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(&'static str, u64), DatasetError> {
    let mut last = None;
    for url in remote.urls {
        match from_address(url, remote.sha256, part, progress) {
            Ok(bytes) => return Ok((url, bytes)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("a remote file has an address"))
}

fn from_address(
    url: &str,
    sha256: &str,
    part: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<u64, DatasetError> {
    let resumed = receive(url, part, progress)?;
    match check(url, sha256, part) {
        // What lay there may have been the wrong beginning.
        Err(_) if resumed => {
            receive(url, part, progress)?;
            check(url, sha256, part)
        }
        result => result,
    }
}

/// The size of the file, whose content is right; a file with another content is removed.
fn check(url: &str, sha256: &str, part: &Path) -> Result<u64, DatasetError> {
    let (found, bytes) = digest(part).map_err(cannot_write(part))?;
    if found == sha256 {
        return Ok(bytes);
    }
    fs::remove_file(part).map_err(cannot_write(part))?;
    Err(DatasetError::Digest { from: url.to_owned(), found, expected: sha256.to_owned() })
}

/// Brings the rest of a file into `part`; tells whether there was a beginning.
fn receive(
    url: &str,
    part: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool, DatasetError> {
    let failed = |reason: String| DatasetError::Download { url: url.to_owned(), reason };
    let there = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let response = request(url, there).map_err(failed)?;
    let status = response.status();
    let start = match status {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if start_of(&response) == Some(there) => there,
        // There is no rest: the file is whole, or it is not this file, which its digest will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if there > 0 => return Ok(true),
        _ => return Err(failed(format!("the server answers {status}"))),
    };
    let mut file = File::options()
        .create(true)
        .truncate(start == 0)
        .write(true)
        .append(start > 0)
        .open(part)
        .map_err(cannot_write(part))?;
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let total = length.map(|length| start + length);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut done = start;
    loop {
        progress(Progress { what: file_name(url), done, total });
        let cut = |reason: String| {
            failed(format!(
                "{reason} after {done} bytes; run the same command again to go on there"
            ))
        };
        let read = body.read(&mut buffer).map_err(|error| cut(error.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(cannot_write(part))?;
        done += read as u64;
        if done > LIMIT {
            fs::remove_file(part).map_err(cannot_write(part))?;
            return Err(failed("the file is larger than 1 GiB".to_owned()));
        }
    }
    if total.is_some_and(|total| done < total) {
        return Err(failed(format!(
            "the connection ended after {done} bytes; run the same command again to go on there"
        )));
    }
    Ok(start > 0)
}

fn request(url: &str, start: u64) -> Result<Response<ureq::Body>, String> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        // A connection on which nothing comes is given up, however long the whole file takes.
        .timeout_per_read(Some(Duration::from_mins(1)))
        .user_agent(concat!("graftwork/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let request = agent.get(url);
    let request =
        if start > 0 { request.header(header::RANGE, format!("bytes={start}-")) } else { request };
    request.call().map_err(|error| error.to_string())
}

/// The first byte of an answer that is a part of a file: 7 of `Content-Range: bytes 7-99/100`.
fn start_of(response: &Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use sha2::{Digest, Sha256};

    use super::super::hexadecimal;
    use super::*;

    /// What a server on this machine does with one request.
    enum Answer {
        /// Sends the file, or the part that was asked for.
        Serve,
        /// Sends the whole file, whatever was asked for.
        ServeAll,
        /// Promises the file and ends after so many bytes.
        CutAfter(usize),
        /// Sends a status without content.
        Status(&'static str),
    }

    /// Answers one request after the other and tells their `Range` headers.
    fn server(content: &'static [u8], answers: Vec<Answer>) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/files/rows.csv", listener.local_addr().unwrap());
        let (send, ranges) = mpsc::channel();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut range = String::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("range: ") {
                        value.clone_into(&mut range);
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let start = match answer {
                    Answer::ServeAll => 0,
                    _ => range
                        .strip_prefix("bytes=")
                        .map_or(0, |start| start.trim_end_matches('-').parse().unwrap()),
                };
                send.send(range).unwrap();
                let body = content.get(start..).unwrap_or_default();
                let status = match (&answer, start) {
                    (Answer::Status(status), _) => status,
                    (_, 0) => "200 OK",
                    (_, start) if start >= content.len() => "416 Range Not Satisfiable",
                    _ => "206 Partial Content",
                };
                let body = if matches!(answer, Answer::Status(_)) { &[] } else { body };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\
                     Content-Range: bytes {start}-{}/{}\r\nConnection: close\r\n\r\n",
                    body.len(),
                    content.len().saturating_sub(1),
                    content.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                let sent = match answer {
                    Answer::CutAfter(bytes) => &body[..bytes.min(body.len())],
                    _ => body,
                };
                stream.write_all(sent).unwrap();
            }
        });
        (url, ranges)
    }

    const CONTENT: &[u8] = b"0,1,2\n3,4,5\n6,7,8\n";

    fn remote(urls: &[&str], sha256: String) -> Remote {
        let urls: Vec<&'static str> = urls.iter().map(|url| &*(*url).to_owned().leak()).collect();
        Remote { urls: urls.leak(), sha256: sha256.leak(), members: &[] }
    }

    fn sha256(content: &[u8]) -> String {
        hexadecimal(&Sha256::digest(content))
    }

    fn attempt(remote: &Remote, folder: &Path) -> Result<Vec<Fetched>, String> {
        fetch(remote, folder, &mut |_| {}).map_err(|error| error.to_string())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_brought_once_and_its_progress_told() {
        let folder = tempfile::tempdir().unwrap();
        let (url, ranges) = server(CONTENT, vec![Answer::Serve]);
        let remote = remote(&[&url], sha256(CONTENT));
        let mut told = Vec::new();
        let fetched = fetch(&remote, folder.path(), &mut |progress| {
            assert_eq!(progress.what, "rows.csv");
            told.push((progress.done, progress.total));
        })
        .unwrap();
        assert_eq!(fetched[0].path, folder.path().join("rows.csv"));
        assert_eq!((fetched[0].bytes, &fetched[0].from), (18, &url));
        assert_eq!(fs::read(&fetched[0].path).unwrap(), CONTENT);
        assert_eq!((told.first(), told.last()), (Some(&(0, Some(18))), Some(&(18, Some(18)))));
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [""]);
        // The server is gone by now.
        assert!(attempt(&remote, folder.path()).unwrap()[0].kept);
    }

    #[test]
    fn a_fetch_that_was_cut_off_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (url, ranges) = server(CONTENT, vec![Answer::CutAfter(7), Answer::Serve]);
        let remote = remote(&[&url], sha256(CONTENT));
        let error = attempt(&remote, folder.path()).unwrap_err();
        assert!(error.contains("after 7 bytes; run the same command again"), "{error}");
        let part = format!("rows.csv.{}.part", &sha256(CONTENT)[..8]);
        assert_eq!(names(folder.path()), [part.as_str()]);
        attempt(&remote, folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["rows.csv"]);
        assert_eq!(fs::read(folder.path().join("rows.csv")).unwrap(), CONTENT);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), ["", "bytes=7-"]);
    }

    #[test]
    fn a_server_that_knows_no_ranges_sends_everything_again() {
        let folder = tempfile::tempdir().unwrap();
        let (url, _ranges) = server(CONTENT, vec![Answer::CutAfter(7), Answer::ServeAll]);
        let remote = remote(&[&url], sha256(CONTENT));
        attempt(&remote, folder.path()).unwrap_err();
        attempt(&remote, folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("rows.csv")).unwrap(), CONTENT);
    }

    #[test]
    fn a_whole_part_needs_no_more_bytes_and_a_wrong_beginning_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join(format!("rows.csv.{}.part", &sha256(CONTENT)[..8]));
        fs::write(&part, CONTENT).unwrap();
        let (url, ranges) = server(CONTENT, vec![Answer::Serve]);
        attempt(&remote(&[&url], sha256(CONTENT)), folder.path()).unwrap();
        assert_eq!(ranges.iter().collect::<Vec<_>>(), ["bytes=18-"]);

        for beginning in [&b"wrong"[..], b"wrong and as long as"] {
            fs::remove_file(folder.path().join("rows.csv")).unwrap();
            fs::write(&part, beginning).unwrap();
            let (url, ranges) = server(CONTENT, vec![Answer::Serve, Answer::Serve]);
            attempt(&remote(&[&url], sha256(CONTENT)), folder.path()).unwrap();
            assert_eq!(fs::read(folder.path().join("rows.csv")).unwrap(), CONTENT);
            let expected = [format!("bytes={}-", beginning.len()), String::new()];
            assert_eq!(ranges.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn another_content_is_refused_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (url, _ranges) = server(CONTENT, vec![Answer::Serve]);
        let error = attempt(&remote(&[&url], sha256(b"other")), folder.path()).unwrap_err();
        let expected =
            format!("{url} has the SHA-256 {}, not {}", sha256(CONTENT), sha256(b"other"));
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn the_next_address_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let (gone, _) = server(CONTENT, vec![Answer::Status("404 Not Found")]);
        let (url, _ranges) = server(CONTENT, vec![Answer::Serve]);
        let fetched = attempt(&remote(&[&gone, &url], sha256(CONTENT)), folder.path()).unwrap();
        assert_eq!(fetched[0].from, url);

        let (gone, _ranges) = server(CONTENT, vec![Answer::Status("404 Not Found")]);
        let empty = tempfile::tempdir().unwrap();
        let error = attempt(&remote(&[&gone], sha256(CONTENT)), empty.path()).unwrap_err();
        assert_eq!(error, format!("cannot download {gone}: the server answers 404 Not Found"));
    }
}
