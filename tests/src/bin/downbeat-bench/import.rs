//! The first import of a CSV: a running server, a file, and the time until it is answered.

use crate::Options;
use crate::promotion::{key, value};
use crate::report::{Report, Row, Unit};
use downbeat_server::{Config, Server};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

/// A file in order and one in none, each into an empty dataset of a server in this process.
pub(crate) fn import(options: Options, report: &mut Report) -> io::Result<()> {
    let records: u64 = if options.quick { 100_000 } else { 1_000_000 };
    for (what, step) in [("in order", 1), ("in no order", 7_919)] {
        let folder = tempfile::tempdir()?;
        let mut file = tempfile::tempfile_in(folder.path())?;
        let mut csv = BufWriter::new(&file);
        csv.write_all(b"key,value\n")?;
        for n in 0..records {
            let n = n * step % records;
            csv.write_all(&[&key(n)[..], b",", &value(n), b"\n"].concat())?;
        }
        csv.flush()?;
        drop(csv);
        let len = file.stream_position()?;
        file.rewind()?;
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config { control: free, http: free, ..Config::new(folder.path().join("downbeat.db")) };
        let server = Server::start(config).map_err(io::Error::other)?;
        ask(server.http(), "/v1/farms", &b"{\"farm\":\"main\"}"[..], 15)?;
        let since = Instant::now();
        let answer = ask(server.http(), "/v1/farms/main/import?dataset=prices", file, len)?;
        let took = since.elapsed().as_secs_f64() * 1e3;
        if !answer.contains(&format!("\"added\":{records},")) {
            return Err(io::Error::other(answer));
        }
        let row =
            Row::new(&format!("first import of {records} rows of CSV, {what}"), Unit::Millis, vec![took]);
        report.push(row.bar(15_000.0).note("over HTTP, until it is on the disk"));
    }
    report.push(Row::new("… the most memory of this process so far", Unit::Mebibytes, vec![peak()?]));
    Ok(())
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

/// The most memory that this process had, in MiB, as the system has it.
fn peak() -> io::Result<f64> {
    let status = {
        let mut text = String::new();
        File::open("/proc/self/status")?.read_to_string(&mut text)?;
        text
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kibibytes.map(|kibibytes| kibibytes / 1024.0).ok_or_else(|| io::Error::other("no VmHWM"))
}
