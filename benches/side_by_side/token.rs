//! `token` as kubectl runs it: the whole process, from start to exit, both programs in turns on one core.

use crate::Programs;
use crate::os::cpu_of_children;
use crate::report::{Goal, Report, median};
use kit::Principal;
use kit::builders::{aws_files_env, write_aws_files};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 12;
/// Long enough for the kernel's ticks of 10 ms not to matter.
const RUNS_IN_A_ROUND: u32 = 25;

type Environment = Vec<(String, String)>;

/// What one way of running a program takes.
#[derive(Default)]
struct Taken {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

pub(crate) fn measure(programs: &Programs, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a folder");
    let who = Principal::assumed_role("111122223333", "Deployer", "bench");
    let home = ("HOME".to_owned(), folder.path().display().to_string());
    let region = ("AWS_REGION".to_owned(), "us-west-2".to_owned());
    let keys = [who.env(), vec![home.clone(), region.clone()]].concat();
    write_aws_files(folder.path(), &[("bench", &who)]);
    let profile = [aws_files_env(folder.path(), "bench"), vec![home, region]].concat();
    for (name, environment) in [("environment", &keys), ("profile", &profile)] {
        let (ours, peer) = compare(programs, environment);
        let goal = Goal::OfPeer(1.0 / 5.0);
        let line =
            |taken: fn(&Taken) -> &Vec<f64>| (median(taken(&ours)), peer.as_ref().map(|peer| median(taken(peer))));
        let (wall, of_peer) = line(|taken| &taken.wall);
        report.add(format!("`token`, keys in the {name}: time"), "ms", wall, of_peer, goal);
        let (cpu, of_peer) = line(|taken| &taken.cpu);
        report.add(format!("`token`, keys in the {name}: CPU"), "ms", cpu, of_peer, goal);
    }
    let mut warm = Taken::default();
    run(&programs.ours, &keys, &["--cache"], &mut Taken::default());
    for _ in 0..ROUNDS {
        round(&programs.ours, &keys, &["--cache"], &mut warm);
    }
    report.add(
        "`token --cache`, warm: time",
        "ms",
        median(&warm.wall),
        None,
        Goal::None,
    );
    report.add("`token --cache`, warm: CPU", "ms", median(&warm.cpu), None, Goal::None);
    let mib = |program: &Path| program.metadata().expect("the program").len() as f64 / f64::from(1 << 20);
    let peer = programs.peer.as_deref().map(mib);
    report.add("size of the program", "MiB", mib(&programs.ours), peer, Goal::None);
}

fn compare(programs: &Programs, environment: &Environment) -> (Taken, Option<Taken>) {
    let (mut ours, mut peer) = (Taken::default(), programs.peer.as_ref().map(|_| Taken::default()));
    for _ in 0..ROUNDS {
        round(&programs.ours, environment, &[], &mut ours);
        if let Some((program, taken)) = programs.peer.as_ref().zip(peer.as_mut()) {
            round(program, environment, &[], taken);
        }
    }
    (ours, peer)
}

fn round(program: &Path, environment: &Environment, args: &[&str], taken: &mut Taken) {
    let before = cpu_of_children();
    for _ in 0..RUNS_IN_A_ROUND {
        run(program, environment, args, taken);
    }
    let cpu = cpu_of_children().saturating_sub(before) / RUNS_IN_A_ROUND;
    taken.cpu.push(cpu.as_secs_f64() * 1e3);
}

fn run(program: &Path, environment: &Environment, args: &[&str], taken: &mut Taken) {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment.iter().cloned())
        .args(["token", "-i", "bench.example"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().expect("the program runs");
    taken.wall.push(started.elapsed().as_secs_f64() * 1e3);
    assert!(status.success(), "{}: {status}", program.display());
}
