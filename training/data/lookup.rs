//! Finding text on whatever machine this is: what was asked for, the per-user cache, the network,
//! or else the corpus that ships as code.

use super::Source;
use super::corpus::{Corpus, DataError};
use super::download::Remote;
use std::path::PathBuf;

/// The environment variable that replaces the per-user cache folder.
pub const CACHE_VARIABLE: &str = "NEUTRENO_CACHE";

/// What text to look for.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// A folder or file; nothing else is then looked for.
    pub data: Option<PathBuf>,
    /// Never touch the network.
    pub offline: bool,
    /// Fail rather than go on with the generated corpus.
    pub require_real: bool,
    /// The cache's folder instead of [`cache_folder`].
    pub cache: Option<PathBuf>,
}

/// Finds text: at `data`, or else WikiText-2 in the cache, or else its download, or else the
/// generated corpus. With it come lines that the user should see: what was downloaded, or why
/// there is no real text.
///
/// ```
/// use neutreno::data::lookup::{Lookup, lookup};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("text.txt");
/// # std::fs::write(&path, "to be or not to be\n".repeat(100))?;
/// let (corpus, notices) = lookup(&Lookup { data: Some(path), ..Lookup::default() })?;
/// assert_eq!(corpus.splits.test.lines().count(), 5);
/// assert!(notices.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If `data` is given and can't be used, or there is no real text and it is required.
pub fn lookup(lookup: &Lookup) -> Result<(Corpus, Vec<String>), DataError> {
    lookup_at(lookup, &Remote::wikitext_2())
}

fn lookup_at(lookup: &Lookup, remote: &Remote) -> Result<(Corpus, Vec<String>), DataError> {
    if let Some(path) = &lookup.data {
        return Ok((Corpus::read(path)?, Vec::new()));
    }
    let name = remote.name;
    let published = |source, texts| Corpus::new(name.into(), source, true, texts, None);
    let mut notices = Vec::new();
    let cache = lookup.cache.clone().or_else(cache_folder).map(|folder| folder.join("wikitext-2"));
    if let Some(folder) = &cache {
        match remote.kept(folder) {
            Ok(Some(texts)) => {
                return Ok((published(Source::Cache(folder.clone()), texts), notices));
            }
            Ok(None) => {}
            Err(error) => notices.push(format!("the cached {name} is not used: {error}")),
        }
    }
    let reason = if lookup.offline {
        format!("{name} is not in the cache, and offline was asked for")
    } else {
        tracing::info!("downloading {name} from {}", remote.base);
        match remote.download() {
            Ok(texts) => {
                notices.push(match cache.map(|folder| (remote.keep(&texts, &folder), folder)) {
                    Some((Ok(()), folder)) => {
                        format!(
                            "downloaded {name}, verified it and kept it in {}",
                            folder.display()
                        )
                    }
                    Some((Err(error), _)) => {
                        format!("downloaded {name} and verified it, but could not keep it: {error}")
                    }
                    None => format!("downloaded {name} and verified it; there is no cache folder"),
                });
                return Ok((published(Source::Download(remote.base.clone()), texts), notices));
            }
            Err(error) => format!("{name} could not be downloaded ({error})"),
        }
    };
    if lookup.require_real {
        return Err(DataError::NoRealText { reason });
    }
    notices.push(format!("{reason}: going on with the generated corpus; --data gives real text"));
    Ok((Corpus::generated(), notices))
}

/// The folder for downloads: what [`CACHE_VARIABLE`] says, or else the user's cache folder, if
/// there is one.
pub fn cache_folder() -> Option<PathBuf> {
    match std::env::var_os(CACHE_VARIABLE) {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => directories::ProjectDirs::from("", "", "neutreno")
            .map(|folders| folders.cache_dir().to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Splits;
    use super::super::download::{RemoteFile, git_blob};
    use super::*;
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::path::Path;

    const TEXTS: Splits<&str> =
        Splits { train: "to be or not\n", validation: "to be\n", test: "not to be\n" };

    /// The texts above as they would be published at an address.
    fn remote(base: String) -> Remote {
        let file = |name, text: &str| RemoteFile { name, blob: git_blob(text.as_bytes()) };
        Remote {
            name: "WikiText-2",
            base,
            files: Splits {
                train: file("train.txt", TEXTS.train),
                validation: file("valid.txt", TEXTS.validation),
                test: file("test.txt", TEXTS.test),
            },
            limit: 100,
        }
    }

    /// A server that gives these replies, whole as they go over the wire, one a connection.
    fn serve(replies: Vec<String>) -> Remote {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for reply in replies {
                let (mut stream, _) = listener.accept().unwrap();
                let request = BufReader::new(stream.try_clone().unwrap()).lines();
                for line in request {
                    if line.unwrap().is_empty() {
                        break;
                    }
                }
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        remote(format!("http://{address}/"))
    }

    fn reply(declared: usize, text: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {declared}\r\n\r\n{text}")
    }

    fn whole(text: &str) -> String {
        reply(text.len(), text)
    }

    /// An address where nobody listens.
    fn unreachable() -> Remote {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        remote(format!("http://{}/", listener.local_addr().unwrap()))
    }

    fn with_cache(cache: &Path) -> Lookup {
        Lookup { cache: Some(cache.into()), ..Lookup::default() }
    }

    #[test]
    fn a_download_is_verified_and_kept() {
        let cache = tempfile::tempdir().unwrap();
        let server = serve(TEXTS.iter().map(|text| whole(text)).collect());
        let (corpus, notices) = lookup_at(&with_cache(cache.path()), &server).unwrap();
        assert_eq!(corpus.splits.as_ref().map(String::as_str), TEXTS);
        assert!(corpus.official_words && matches!(corpus.source, Source::Download(_)));
        assert!(notices.len() == 1 && notices[0].contains("kept"), "{notices:?}");

        let offline = Lookup { offline: true, require_real: true, ..with_cache(cache.path()) };
        let (again, notices) = lookup_at(&offline, &unreachable()).unwrap();
        assert!(matches!(&again.source, Source::Cache(path) if path.starts_with(cache.path())));
        assert_eq!((again.splits, again.hashes), (corpus.splits, corpus.hashes));
        assert!(again.official_words && notices.is_empty());

        // What was changed on the disk is not used.
        fs::write(cache.path().join("wikitext-2").join("test.txt"), "to be\n").unwrap();
        let message = lookup_at(&offline, &unreachable()).unwrap_err().to_string();
        assert!(message.contains("offline"), "{message}");
        let fallback = Lookup { require_real: false, ..offline };
        let (_, notices) = lookup_at(&fallback, &unreachable()).unwrap();
        assert!(notices.len() == 2 && notices[0].contains("test.txt: 6 bytes"), "{notices:?}");
    }

    #[test]
    fn a_bad_download_falls_back_or_fails_as_asked() {
        type Serve = fn() -> Remote;
        let bad: [(&str, Serve); 5] = [
            ("git hash", || serve(vec![whole(TEXTS.train), whole("to bee\n")])),
            ("disconnected", || serve(vec![whole(TEXTS.train), reply(6, "to ")])),
            ("limit", || serve(vec![whole(&"far too large ".repeat(20))])),
            ("404", || serve(vec!["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into()])),
            ("refused", unreachable),
        ];
        for (reason, server) in bad {
            let cache = tempfile::tempdir().unwrap();
            let required = Lookup { require_real: true, ..with_cache(cache.path()) };
            let message = lookup_at(&required, &server()).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("http://"), "{message}");
            let (corpus, notices) = lookup_at(&with_cache(cache.path()), &server()).unwrap();
            assert!(matches!(corpus.source, Source::Generated(_)));
            assert!(notices.len() == 1 && notices[0].contains("generated"), "{notices:?}");
            assert!(!notices[0].contains('\n'));
            assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_download_that_cannot_be_kept_is_still_used() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the cache's folder should be, as a full disk would refuse it.
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, "").unwrap();
        let server = serve(TEXTS.iter().map(|text| whole(text)).collect());
        let (corpus, notices) = lookup_at(&with_cache(&blocked), &server).unwrap();
        assert_eq!(corpus.splits.as_ref().map(String::as_str), TEXTS);
        assert!(notices.len() == 1 && notices[0].contains("could not keep"), "{notices:?}");
    }

    #[test]
    fn what_was_asked_for_is_never_replaced() {
        let asked = Lookup { data: Some("no/such/place".into()), ..Lookup::default() };
        let error = lookup_at(&asked, &unreachable()).unwrap_err();
        assert!(matches!(error, DataError::Missing { .. }));
    }

    /// The validation and test texts that are published for download are WikiText-2's own.
    #[test]
    fn the_published_hashes_are_wikitext_2s() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/wikitext-2"));
        let files = Remote::wikitext_2().files;
        for (name, file) in [("valid", files.validation), ("test", files.test)] {
            match fs::read(folder.join(format!("wiki.{name}.tokens"))) {
                Ok(text) => assert_eq!(git_blob(&text), file.blob),
                Err(_) => println!("left out: no WikiText-2 in {}", folder.display()),
            }
        }
    }
}
