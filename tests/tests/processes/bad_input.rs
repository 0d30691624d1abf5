//! Bad input to real processes: each gives one clear error with a cure, or is passed over, and nothing
//! is lost.

use downbeat_tests::farm::{FARM, FOUR, Farm};
use downbeat_tests::processes::{Process, eventually};
use downbeat_tests::program::downbeat;
use downbeat_tests::random::Random;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

fn serve(data: &Path) -> Command {
    let mut command = Command::new(downbeat());
    command.arg("serve").arg("--data").arg(data);
    command.args(["--control", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"]);
    command
}

/// Starts a server, and says where people reach it.
fn started(mut command: Command, folder: &Path) -> (Process, String) {
    command.env_remove("DOWNBEAT_URL");
    let (process, line) = Process::start(command, &folder.join("errors.txt")).expect("it starts");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    (process, said["http"].as_str().expect("an address").to_owned())
}

fn run(mut command: Command) -> Output {
    command.output().expect("the program runs")
}

/// A command of a person, to a server.
fn person(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(downbeat());
    command.args(arguments).args(["--url", url]);
    run(command)
}

/// Refused with status 1 (or 2 for wrong usage), and an error that says all of `words`.
fn refused(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    for word in words {
        assert!(error.contains(word), "{error:?} lacks {word:?}");
    }
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn a_server_that_can_t_start_says_why_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = Command::new(downbeat());
    command.arg("serve").arg("--data").arg(folder.path().join("data"));
    command.arg("--control").arg(taken.local_addr().unwrap().to_string()).args(["--http", "127.0.0.1:0"]);
    refused(&run(command), &["in use", "another port"]);
    assert!(!folder.path().join("data").exists(), "a port in use changes nothing");

    let data = folder.path().join("newer");
    let (server, _) = started(serve(&data), folder.path());
    refused(&run(serve(&data)), &["another server serves", "stop that one"]);
    server.kill();
    // Again with nothing in the log beside it, so that the header below is what counts.
    let (server, url) = started(serve(&data), folder.path());
    assert!(person(&url, &["put", "prices", "EUR", "1"]).status.success());
    server.kill();
    let database = std::fs::read_dir(&data).unwrap().flatten().map(|entry| entry.path());
    for path in database.filter(|path| path.extension().is_some_and(|end| end == "db")) {
        // The version that a program wrote into a SQLite file is at byte 60.
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&1_000_000_u32.to_be_bytes(), 60).unwrap();
        // What the log beside it holds of the first page would hide that.
        let mut log = path.into_os_string();
        log.push("-wal");
        let _ = std::fs::remove_file(log);
    }
    refused(&run(serve(&data)), &["newer"]);
}

#[test]
fn what_a_person_gets_wrong_is_refused_with_a_cure_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = started(serve(&folder.path().join("data")), folder.path());
    assert!(person(&url, &["put", "prices", "EUR", "1.09"]).status.success());
    refused(&person(&url, &["put", "prices", &"k".repeat(513), "1"]), &["513", "512"]);
    refused(&person(&url, &["put", "Prices!", "EUR", "1"]), &["name"]);
    refused(&person(&url, &["settings", "--lead", "1ms"]), &["lead"]);
    refused(&person(&url, &["status", "--farm", "nowhere"]), &["nowhere"]);
    refused(&person(&url, &["status", "--token", "unknown"]), &["token"]);
    let csv = folder.path().join("prices.csv");
    std::fs::write(&csv, "key,worth\nEUR,1.10\n").unwrap();
    refused(&person(&url, &["import", csv.to_str().unwrap(), "--dataset", "prices"]), &["value"]);
    let got = person(&url, &["get", "prices", "EUR"]);
    assert_eq!(String::from_utf8_lossy(&got.stdout).trim(), "1.09", "{got:?}");
}

#[test]
fn a_disk_that_takes_no_more_refuses_edits_and_keeps_those_before() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // No file may grow beyond 2 MiB; the signal that says so is passed over, so a write fails.
    let mut limited = Command::new("sh");
    let serve_line = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" serve --data \"$1\" --control 127.0.0.1:0 \
                      --http 127.0.0.1:0 --json";
    limited.arg("-c").arg(serve_line).arg(downbeat()).arg(&data);
    let (server, url) = started(limited, folder.path());
    let value = "v".repeat(60_000);
    let mut taken = 0;
    let refusal = (0..200).find_map(|number| {
        let output = person(&url, &["put", "big", &format!("{number:03}"), &value]);
        taken += usize::from(output.status.success());
        (!output.status.success()).then_some(output)
    });
    let refusal = refusal.expect("2 MiB are full after 200 edits of 60 kB");
    assert!(taken > 5, "only {taken} edits were taken: {refusal:?}");
    refused(&refusal, &["disk"]);
    server.kill();
    let (_server, url) = started(serve(&data), folder.path());
    for number in 0..taken {
        let output = person(&url, &["get", "big", &format!("{number:03}")]);
        assert!(output.status.success(), "edit {number} of {taken} is lost: {output:?}");
    }
}

#[test]
fn noise_on_every_port_and_from_the_server_ends_nothing() {
    let mut farm = Farm::start("noise", 66, &FOUR[..2]);
    let (control, http) = farm.addresses().expect("the server runs");
    let mut random = Random::new(66);
    farm.wait_epochs(1);
    for _ in 0..30 {
        let noise: Vec<u8> = (0..3_000).map(|_| random.next_number() as u8).collect();
        for to in [control, http] {
            send(to, &noise);
        }
        send(
            http,
            format!("PUT /v1/farms/{FARM}/records/a/b HTTP/1.1\r\nContent-Length: 99\r\n\r\n").as_bytes(),
        );
    }
    // Agents get a server that answers with noise for a while.
    let fake = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    farm.lead_agents_to(fake.local_addr().unwrap());
    for _ in 0..4 {
        let Ok((mut agent, _)) = fake.accept() else { continue };
        for _ in 0..20 {
            let noise: Vec<u8> = (0..1_500).map(|_| random.next_number() as u8).collect();
            if agent.write_all(&noise).is_err() {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(fake);
    farm.lead_agents_to(control);
    farm.wait_epochs(1);
    farm.assert_all_run();
    farm.finish();
}

fn send(to: SocketAddr, bytes: &[u8]) {
    let mut stream = eventually("a connection", || TcpStream::connect(to).ok());
    // The other end may close at any byte.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = stream.read(&mut [0; 64]);
}
