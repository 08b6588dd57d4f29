//! Reads the entries of a state folder, also while a gate writes to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::disk::{Folder, numbered};
use crate::entry::Entry;
use crate::error::OpenError;
use crate::seal::{Keys, MasterKey};
use crate::segment::{ENDING, HEADER, Header};

/// How many bytes are read at once.
const CHUNK: usize = 256 << 10;

/// A position in a ledger, from which entries are read in order. It takes no lock.
///
/// An entry can be seen here a moment before it is durable.
pub struct Reader {
    folder: Folder,
    keys: Keys,
    next: u64,
    place: Option<Place>,
}

/// A segment that is being read.
struct Place {
    file: File,
    header: Header,
    /// Where `bytes` begin in the file.
    at: u64,
    bytes: Vec<u8>,
    /// How much of `bytes` has been read.
    used: usize,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins at the entry `from` of the ledger in the state folder `state`.
    ///
    /// # Errors
    /// When there is no ledger.
    pub fn open(state: &Path, master: &MasterKey, from: u64) -> Result<Reader, OpenError> {
        let folder =
            Folder::open(&state.join(crate::LEDGER)).map_err(OpenError::io("open", state))?;
        Ok(Reader { folder, keys: Keys::of(master), next: from, place: None })
    }

    /// The number of the entry that is read next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next entry, or `None` where there is none yet: a later call goes on from here, into the
    /// next segment too.
    ///
    /// # Errors
    /// When an entry that others follow cannot be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator that has ended does not go on; this does"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>, OpenError> {
        loop {
            let Some(place) = &mut self.place else {
                if !self.find()? {
                    return Ok(None);
                }
                continue;
            };
            let read = place.next().map_err(OpenError::io("read", self.folder.path()))?;
            match read {
                Some(entry) if entry.seq < self.next => {}
                Some(entry) if entry.seq == self.next => {
                    self.next += 1;
                    return Ok(Some(entry));
                }
                Some(entry) => return Err(self.damaged(format!("entry {} comes next", entry.seq))),
                None if self.cross()? => {}
                None => return Ok(None),
            }
        }
    }

    fn damaged(&self, what: String) -> OpenError {
        let segment = self.place.as_ref().map_or(0, |place| place.header.first);
        OpenError::Damaged { path: self.folder.path().to_owned(), segment, seq: self.next, what }
    }

    /// Opens the segment that holds the next entry, if there is one yet.
    fn find(&mut self) -> Result<bool, OpenError> {
        let segments =
            self.folder.numbered(ENDING).map_err(OpenError::io("read", self.folder.path()))?;
        let number = segments.iter().rev().find(|number| **number <= self.next);
        match number {
            Some(number) => self.enter(*number).map(|()| true),
            None if segments.is_empty() => Ok(false),
            None => Err(self.damaged("the segment that held it is gone".to_owned())),
        }
    }

    fn enter(&mut self, number: u64) -> Result<(), OpenError> {
        let path = self.folder.path().join(numbered(number, ENDING));
        let file =
            self.folder.read(&numbered(number, ENDING)).map_err(OpenError::io("open", &path))?;
        let mut head = [0; HEADER];
        file.read_exact_at(&mut head, 0).map_err(OpenError::io("read", &path))?;
        let header =
            Header::open(&self.keys, &head).map_err(|why| self.damaged(why.to_string()))?;
        self.place = Some(Place { file, header, at: HEADER as u64, bytes: Vec::new(), used: 0 });
        Ok(())
    }

    /// Goes on to the segment that begins with the next entry, if it is there. While it is not,
    /// what cannot be read is still being written; once it is, nothing is.
    fn cross(&mut self) -> Result<bool, OpenError> {
        let segments =
            self.folder.numbered(ENDING).map_err(OpenError::io("read", self.folder.path()))?;
        let here = self.place.as_ref().map_or(0, |place| place.header.first);
        let Some(following) = segments.iter().find(|number| **number > here) else {
            return Ok(false);
        };
        if *following == self.next {
            return self.enter(*following).map(|()| true);
        }
        // The writer may have gone on between the two looks.
        let again = self.place.as_mut().map(Place::next).transpose();
        match again.map_err(OpenError::io("read", self.folder.path()))?.flatten() {
            Some(_) => {
                // It is read again from where it begins.
                self.place = None;
                Ok(true)
            }
            None => Err(self.damaged("it cannot be read, and later ones follow".to_owned())),
        }
    }
}

impl Place {
    /// The next entry of the segment, if it is there whole.
    fn next(&mut self) -> io::Result<Option<Entry>> {
        for fresh in [false, true] {
            if fresh {
                self.refill()?;
            }
            if let Ok(frame) = self.header.frame(self.bytes.get(self.used..).unwrap_or_default()) {
                self.used += frame.length;
                return Ok(Some(frame.entry));
            }
        }
        Ok(None)
    }

    /// Reads on from the first byte that is not used yet.
    fn refill(&mut self) -> io::Result<()> {
        self.at += self.used as u64;
        self.used = 0;
        self.bytes.clear();
        // Whoever follows looks often and mostly finds nothing.
        let mut length = [0; 4];
        if self.file.read_at(&mut length, self.at)? < length.len() || length == [0; 4] {
            return Ok(());
        }
        self.bytes.resize(CHUNK, 0);
        let mut filled = 0;
        while let Some(room) = self.bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.file.read_at(room, self.at + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}
