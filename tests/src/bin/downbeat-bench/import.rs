//! The first import of a CSV: a running server, a file, and the time until it is answered.

use crate::Options;
use crate::machine::{forget_peak, peak};
use crate::promotion::{key, value};
use crate::report::{Report, Row, Unit};
use downbeat_server::{Config, Handle, Server};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

/// A file in order and one in none, each into an empty dataset of a server in this process.
pub(crate) fn import(options: Options, report: &mut Report) -> io::Result<()> {
    let records: u64 = if options.quick { 100_000 } else { 1_000_000 };
    for (what, step) in [("in order", 1), ("in no order", 7_919)] {
        let folder = tempfile::tempdir()?;
        let (file, len) =
            csv(folder.path(), (0..records).map(|n| n * step % records).map(|n| (n, value(n))))?;
        let server = begin(folder.path(), &json!({}))?;
        forget_peak()?;
        let since = Instant::now();
        let answer = send(&server, file, len)?;
        let took = since.elapsed().as_secs_f64() * 1e3;
        let most = peak()? / f64::from(1 << 20);
        if !answer.contains(&format!("\"added\":{records},")) {
            return Err(io::Error::other(answer));
        }
        let row =
            Row::new(&format!("first import of {records} rows of CSV, {what}"), Unit::Millis, vec![took]);
        report.push(row.bar(15_000.0).note("over HTTP, until it is on the disk"));
        let row = Row::new("… the most memory of this process meanwhile", Unit::Mebibytes, vec![most]);
        report.push(row.note(format!("the file has {} MiB", len >> 20)));
    }
    Ok(())
}

/// Records as a CSV, in a file without a name; and its length.
pub(crate) fn csv(folder: &Path, records: impl Iterator<Item = (u64, Vec<u8>)>) -> io::Result<(File, u64)> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut csv = BufWriter::new(&file);
    csv.write_all(b"key,value\n")?;
    for (n, value) in records {
        csv.write_all(&[&key(n)[..], b",", &value, b"\n"].concat())?;
    }
    csv.flush()?;
    drop(csv);
    let len = file.stream_position()?;
    file.rewind()?;
    Ok((file, len))
}

/// A server in this process with one farm, which has these settings.
pub(crate) fn begin(folder: &Path, settings: &Value) -> io::Result<Handle> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = Config { control: free, http: free, ..Config::new(folder.join("downbeat.db")) };
    let server = Server::start(config).map_err(io::Error::other)?;
    create(&server, settings)?;
    Ok(server)
}

/// Makes the one farm of a server.
pub(crate) fn create(server: &Handle, settings: &Value) -> io::Result<()> {
    let farm = json!({ "farm": "main", "settings": settings }).to_string();
    let answer = ask(server.http(), "/v1/farms", farm.as_bytes(), farm.len() as u64)?;
    if answer.starts_with("HTTP/1.1 201") { Ok(()) } else { Err(io::Error::other(answer)) }
}

/// Imports a CSV into the farm's one dataset.
pub(crate) fn send(server: &Handle, file: File, len: u64) -> io::Result<String> {
    ask(server.http(), "/v1/farms/main/import?dataset=prices", file, len)
}

/// One POST, and its answer.
fn ask(to: SocketAddr, path: &str, body: impl Read, len: u64) -> io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n"
    )?;
    io::copy(&mut body.take(len), &mut stream)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
