//! The high-water mark: the newest point that was acknowledged, kept outside the ledger's folder.
//!
//! The file has three slots of one disk sector each, so that writing one never tears another and
//! nothing is allocated on a full disk. Two take exact marks in turn, each made durable; the third
//! takes the ones in between, which survive the death of the process but not that of the machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::chain::Point;
use crate::disk::{Disk, Folder};
use crate::entry::Hash;
use crate::seal::{Keys, NONCE, Random, TAG};
use crate::segment::LogId;
use crate::wire::{Cursor, Malformed};

const SLOT: usize = 512;
const SLOTS: usize = 3;
/// The slot of marks that are not synced.
const ADVISORY: usize = 2;
/// log, counter, size, root, last hash.
const PLAIN: usize = 16 + 8 + 8 + 32 + 32;
const DOMAIN: &[u8] = b"tollgate high-water mark v1 ";

/// What one slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) log: LogId,
    counter: u64,
    pub(crate) point: Point,
}

/// What a mark's file says.
#[derive(Debug)]
pub(crate) struct Read {
    /// The newest slot that can be read.
    pub(crate) newest: Option<Slot>,
    /// Slots that hold something that cannot be read.
    pub(crate) unreadable: usize,
    /// Whether there is a file at all.
    pub(crate) exists: bool,
}

/// The folder and the name that a mark's path means.
fn split(path: &Path) -> io::Result<(PathBuf, &str)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it does not name a file");
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(wrong)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")).to_owned(), name))
}

/// Reads the mark at `path`.
pub(crate) fn read(path: &Path, keys: &Keys) -> io::Result<Read> {
    let (parent, name) = split(path)?;
    let contents = match Folder::given(&parent) {
        Ok(folder) => folder.contents(name)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut read = Read { newest: None, unreadable: 0, exists: contents.is_some() };
    for (number, slot) in contents.unwrap_or_default().chunks(SLOT).enumerate() {
        match open_slot(keys, number, slot) {
            Ok(slot) => {
                if read.newest.is_none_or(|newest| newest.counter < slot.counter) {
                    read.newest = Some(slot);
                }
            }
            Err(_) if slot.iter().all(|byte| *byte == 0) => {}
            Err(_) => read.unreadable += 1,
        }
    }
    Ok(read)
}

fn aad(number: usize) -> Vec<u8> {
    [DOMAIN, &(number as u64).to_be_bytes()].concat()
}

fn open_slot(keys: &Keys, number: usize, slot: &[u8]) -> Result<Slot, Malformed> {
    let mut cursor = Cursor::new(slot);
    let nonce = cursor.array()?;
    let mut plain = cursor.bytes(PLAIN + TAG)?.to_vec();
    if cursor.rest().iter().any(|byte| *byte != 0) {
        return Err(Malformed("bytes follow its end"));
    }
    keys.mark.open(&nonce, &aad(number), &mut plain)?;
    let mut cursor = Cursor::new(&plain);
    let (log, counter, size) = (cursor.array()?, cursor.u64()?, cursor.u64()?);
    let (root, last) = (Hash(cursor.array()?), Hash(cursor.array()?));
    Ok(Slot { log, counter, point: Point { size, root, last } })
}

/// The mark of a ledger that is being written.
pub(crate) struct Mark {
    file: File,
    log: LogId,
    counter: u64,
    /// The exact slot that is written next.
    next: usize,
    /// Whether no point was marked since it was opened.
    whole: bool,
}

impl Mark {
    /// The mark at `path`, whose file is made where it is missing. It says what it said before
    /// until the first point is marked; that one heals every slot.
    pub(crate) fn open(
        path: &Path,
        log: LogId,
        newest: Option<&Slot>,
        disk: &dyn Disk,
    ) -> io::Result<Mark> {
        let (parent, name) = split(path)?;
        let folder = Folder::create(&parent)?;
        let file = match folder.write(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = folder.make_file(name)?;
                disk.fill(&file, (SLOT * SLOTS) as u64)?;
                folder.sync()?;
                file
            }
            Err(error) => return Err(error),
        };
        Ok(Mark { file, log, counter: newest.map_or(0, |slot| slot.counter), next: 0, whole: true })
    }

    /// Marks `point`, durably.
    pub(crate) fn exact(
        &mut self,
        point: Point,
        keys: &Keys,
        random: &Random,
        disk: &dyn Disk,
    ) -> io::Result<()> {
        self.put(self.next, point, keys, random, disk)?;
        disk.sync(&self.file)?;
        self.next = 1 - self.next;
        if std::mem::take(&mut self.whole) {
            self.put(self.next, point, keys, random, disk)?;
            self.put(ADVISORY, point, keys, random, disk)?;
            disk.sync(&self.file)?;
        }
        Ok(())
    }

    /// Marks `point` without waiting for the disk.
    pub(crate) fn advisory(
        &mut self,
        point: Point,
        keys: &Keys,
        random: &Random,
        disk: &dyn Disk,
    ) -> io::Result<()> {
        self.put(ADVISORY, point, keys, random, disk)
    }

    fn put(
        &mut self,
        number: usize,
        point: Point,
        keys: &Keys,
        random: &Random,
        disk: &dyn Disk,
    ) -> io::Result<()> {
        self.counter += 1;
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        let mut plain = Vec::with_capacity(PLAIN + TAG);
        plain.extend_from_slice(&self.log);
        plain.extend_from_slice(&self.counter.to_be_bytes());
        plain.extend_from_slice(&point.size.to_be_bytes());
        plain.extend_from_slice(&point.root.0);
        plain.extend_from_slice(&point.last.0);
        keys.mark.close(&nonce, &aad(number), &mut plain).map_err(io::Error::other)?;
        disk.write(&self.file, &[&nonce[..], &plain].concat(), (number * SLOT) as u64)
    }
}
