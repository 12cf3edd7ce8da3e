//! What a log asks of a file system: one directory of files with names. A trait, so that tests can cut the power.
//!
//! Names are relative to the directory; one may lie in a directory below it. A file that is created is durable after its
//! `sync`, and its name after `sync_names`.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The end of the name of a file that is not whole yet.
pub const UNFINISHED: &str = ".new";

/// No file is no error.
pub fn or_absent(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub trait Files: Debug + Send + Sync {
    /// Makes the directory if it is not there.
    fn make(&self) -> Result<()>;
    /// Names in the directory, in no order; none if there is no directory.
    fn names(&self) -> Result<Vec<String>>;
    /// The first `max` bytes of a file.
    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>>;
    /// Bytes of a file.
    fn size(&self, name: &str) -> Result<u64>;
    /// A new file; an error if the name is taken.
    fn create(&self, name: &str) -> Result<Box<dyn LogFile>>;
    fn open(&self, name: &str) -> Result<Box<dyn LogFile>>;
    fn exists(&self, name: &str) -> Result<bool>;
    /// Replaces what has the other name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Gives a file its name; an error if that is taken.
    fn publish(&self, from: &str, to: &str) -> Result<()>;
    fn remove(&self, name: &str) -> Result<()>;
    /// The directory and all below it.
    fn remove_all(&self) -> Result<()>;
    /// A directory below; what is moved there is durable after `sync_below`.
    fn make_below(&self, name: &str) -> Result<()>;
    fn sync_below(&self, name: &str) -> Result<()>;
    fn sync_names(&self) -> Result<()>;
    /// Where a file is, for people.
    fn place(&self, name: &str) -> String;
}

pub trait LogFile: Debug + Send {
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()>;
    /// Gives the file its blocks, so that a later sync has no size to write.
    fn allocate(&self, size: u64) -> Result<()>;
    /// Gives back what is behind `size`.
    fn cut(&self, size: u64) -> Result<()>;
    fn sync(&self) -> Result<()>;
    /// Somebody removed its name.
    fn is_removed(&self) -> Result<bool>;
    /// Ours until it is closed, which the end of the process does too; false: it is somebody else's. A process that is
    /// stopped keeps it.
    fn try_lock(&self) -> Result<bool>;
}

/// A directory on a disk of this machine.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    fsync: bool,
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    path: PathBuf,
    fsync: bool,
}

/// The system's words, with the file they are about.
fn about<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl Disk {
    pub fn new(path: PathBuf, fsync: bool) -> Disk {
        Disk { path, fsync }
    }

    /// `name`: without what says that it is not finished, for it may get its name later.
    fn file(&self, name: &str, options: &OpenOptions) -> Result<Box<dyn LogFile>> {
        let path = self.path.join(name);
        let file = about(&path, options.open(&path))?;
        let path = self.path.join(name.strip_suffix(UNFINISHED).unwrap_or(name));
        Ok(Box::new(DiskFile { file, path, fsync: self.fsync }))
    }

    /// To be read; nothing but a file is, and nothing is waited for.
    fn reader(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = about(&path, file)?;
        if !about(&path, file.metadata())?.is_file() {
            return Err(Error::new(ErrorKind::InvalidData, format!("{} is not a file", path.display())));
        }
        Ok(file)
    }
}

impl Files for Disk {
    fn make(&self) -> Result<()> {
        about(&self.path, std::fs::create_dir_all(&self.path))?;
        self.path.ancestors().skip(1).take(3).try_for_each(|dir| sync_dir(dir, self.fsync))
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => about(&self.path, entries)?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>> {
        let mut file = self.reader(name)?;
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(size.min(max));
        let path = self.path.join(name);
        about(&path, Read::take(&mut file, max as u64).read_to_end(&mut bytes))?;
        Ok(bytes)
    }

    fn size(&self, name: &str) -> Result<u64> {
        let path = self.path.join(name);
        Ok(about(&path, std::fs::metadata(&path))?.len())
    }

    fn create(&self, name: &str) -> Result<Box<dyn LogFile>> {
        self.file(name, OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn open(&self, name: &str) -> Result<Box<dyn LogFile>> {
        self.file(name, OpenOptions::new().read(true).write(true))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.path.join(name).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        about(&self.path.join(from), std::fs::rename(self.path.join(from), self.path.join(to)))
    }

    fn publish(&self, from: &str, to: &str) -> Result<()> {
        about(&self.path.join(to), std::fs::hard_link(self.path.join(from), self.path.join(to)))?;
        self.remove(from)
    }

    fn remove(&self, name: &str) -> Result<()> {
        about(&self.path.join(name), std::fs::remove_file(self.path.join(name)))
    }

    fn remove_all(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => about(&self.path, Err(error)),
            Ok(()) => self.path.parent().map_or(Ok(()), |above| sync_dir(above, self.fsync)),
        }
    }

    fn make_below(&self, name: &str) -> Result<()> {
        about(&self.path.join(name), std::fs::create_dir_all(self.path.join(name)))
    }

    fn sync_below(&self, name: &str) -> Result<()> {
        sync_dir(&self.path.join(name), self.fsync)
    }

    fn sync_names(&self) -> Result<()> {
        sync_dir(&self.path, self.fsync)
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl LogFile for DiskFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        about(&self.path, self.file.write_all_at(bytes, at))
    }

    fn allocate(&self, size: u64) -> Result<()> {
        let size = libc::off_t::try_from(size).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
        // SAFETY: the descriptor is open.
        match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), 0, size) } {
            0 => Ok(()),
            code => about(&self.path, Err(Error::from_raw_os_error(code))),
        }
    }

    fn cut(&self, size: u64) -> Result<()> {
        about(&self.path, self.file.set_len(size))
    }

    fn sync(&self) -> Result<()> {
        if self.fsync {
            about(&self.path, self.file.sync_data())
        } else {
            Ok(())
        }
    }

    fn is_removed(&self) -> Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    fn try_lock(&self) -> Result<bool> {
        // SAFETY: the descriptor is open.
        if unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = Error::last_os_error();
        match error.kind() {
            ErrorKind::WouldBlock => Ok(false),
            _ => Err(error),
        }
    }
}

fn sync_dir(path: &Path, fsync: bool) -> Result<()> {
    if fsync {
        about(path, File::open(path).and_then(|dir| dir.sync_all()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let path = std::env::temp_dir().join(format!("silo-log-files-{}", std::process::id()));
        let disk = Disk::new(path.clone(), true);
        disk.make().unwrap();
        std::fs::create_dir(path.join("a")).unwrap();
        std::fs::write(path.join("b"), b"content").unwrap();
        let pipe = std::ffi::CString::new(path.join("c").to_str().unwrap()).unwrap();
        // SAFETY: the path lives for the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let errors = [
            disk.read("a", 1).unwrap_err(),
            disk.read("c", 1).unwrap_err(),
            disk.read("d", 1).unwrap_err(),
            disk.create("b").unwrap_err(),
            disk.open("a").unwrap_err(),
            disk.remove("d").unwrap_err(),
            disk.publish("b", "a").unwrap_err(),
        ];
        for (error, name) in errors.iter().zip(["a", "c", "d", "b", "a", "d", "a"]) {
            assert!(error.to_string().starts_with(&disk.place(name)), "{error}");
        }
        assert_eq!((errors[2].kind(), errors[3].kind()), (ErrorKind::NotFound, ErrorKind::AlreadyExists));
        assert_eq!((disk.read("b", 3).unwrap(), disk.size("b").unwrap()), (b"con".to_vec(), 7));
        disk.remove_all().unwrap();
    }
}
