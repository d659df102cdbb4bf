//! As much of the ELF format as it takes to list the libraries that a program loads at its start.

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// The names in the `NEEDED` list; none where the file is no little-endian 64-bit ELF file.
pub(crate) fn needed(file: &[u8]) -> Option<Vec<String>> {
    if !file.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let (start, size, count) = (read(file, 0x20, 8)?, read(file, 0x36, 2)?, read(file, 0x38, 2)?);
    // Per program header: type, offset in the file, address in memory, size in the file.
    let segments: Vec<[u64; 4]> = (0..count)
        .map(|index| {
            let at = start + index * size;
            Some([
                read(file, at, 4)?,
                read(file, at + 8, 8)?,
                read(file, at + 16, 8)?,
                read(file, at + 32, 8)?,
            ])
        })
        .collect::<Option<_>>()?;
    let [_, at, _, size] = *segments.iter().find(|segment| segment[0] == PT_DYNAMIC)?;
    let entries: Vec<[u64; 2]> = (0..size / 16)
        .map(|index| Some([read(file, at + index * 16, 8)?, read(file, at + index * 16 + 8, 8)?]))
        .collect::<Option<_>>()?;
    let [_, names] = *entries.iter().find(|entry| entry[0] == DT_STRTAB)?;
    let holds = |segment: &&[u64; 4]| {
        segment[0] == PT_LOAD && (segment[2]..segment[2] + segment[3]).contains(&names)
    };
    let [_, offset, address, _] = *segments.iter().find(holds)?;
    let names = names - address + offset;
    let needed = entries.iter().filter(|entry| entry[0] == DT_NEEDED);
    needed.map(|entry| text(file, names + entry[1])).collect()
}

fn read(file: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let field = file.get(at..at.checked_add(bytes)?)?;
    Some(field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn text(file: &[u8], at: u64) -> Option<String> {
    let rest = file.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}
