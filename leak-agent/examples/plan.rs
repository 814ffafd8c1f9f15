//! Prints the hook plans of executables: what the sources would attach, and what they leave out and why.
//!
//! `cargo run --release --example plan -- [--json | --points] FILE…`
//! `--points` prints one line per attach point: role, site, file offset.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use anyhow::Context as _;
use leak_agent::elf::Elf;
use leak_agent::source::{self, HookPlan, Inspection, PointSite, Role};
use leak_agent::types::ExecutableId;
use serde_json::json;
use std::time::{Duration, Instant};

fn main() -> anyhow::Result<()> {
    let mut form = Form::Text;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => form = Form::Json,
            "--points" => form = Form::Points,
            path => inspect(path, form).with_context(|| format!("inspect {path}"))?,
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
    Points,
}

fn inspect(path: &str, form: Form) -> anyhow::Result<()> {
    let data = std::fs::read(path)?;
    let elf = Elf {
        data: &data,
        id: ExecutableId::BuildId(b"preview".to_vec()),
        debug: None,
    };
    for source in source::all() {
        let start = Instant::now();
        let inspection = source.inspect(&elf);
        let took = start.elapsed();
        match form {
            Form::Text => text(path, &inspection, took),
            Form::Json => println!("{:#}", as_json(path, &inspection, took)),
            Form::Points => points(&inspection),
        }
    }
    Ok(())
}

fn count(plan: &HookPlan, role: Role) -> (usize, usize) {
    let of_role = plan.points.iter().filter(|point| point.role == role);
    let single_stepped = of_role.clone().filter(|point| !point.emulated).count();
    (of_role.count(), single_stepped)
}

fn text(path: &str, inspection: &Inspection, took: Duration) {
    match inspection {
        Inspection::NotMine => println!("{path}: nothing ({took:.1?})"),
        Inspection::Unsupported { runtime, reason } => {
            println!("{path}: {runtime}, but {reason} ({took:.1?})");
        }
        Inspection::Plan(plan) => {
            let (spawns, slow_spawns) = count(plan, Role::Spawn);
            let (finishes, slow_finishes) = count(plan, Role::Finish);
            let version = plan.version.as_deref().unwrap_or("?");
            println!(
                "{path}: {} {version}, {} sites, {spawns} spawn points ({slow_spawns} single-stepped), {finishes} finish points \
                 ({slow_finishes} single-stepped), {} gaps; {} ({took:.1?})",
                plan.runtime,
                plan.sites.len(),
                plan.gaps.len(),
                plan.evidence.points
            );
            for gap in &plan.gaps {
                println!("  gap {:#x}: {}", gap.site.unwrap_or(0), gap.reason);
            }
        }
    }
}

fn points(inspection: &Inspection) {
    if let Inspection::Plan(plan) = inspection {
        for point in &plan.points {
            let role = match point.role {
                Role::Spawn => "spawn",
                Role::Finish => "finish",
            };
            let site = match point.site {
                PointSite::Constant(site) => format!("constant:{site:#x}"),
                PointSite::Register(register) => format!("register:{register}"),
                PointSite::Header { reg, derefs, field } => format!("header:{reg}:{derefs}:{field:#x}"),
                PointSite::Pair { base, field, .. } => format!("pair:{base}:{field:#x}"),
            };
            println!(
                "{role} {site} {} {} {}",
                point.offset, point.vaddr, point.emulated
            );
        }
    }
}

fn as_json(path: &str, inspection: &Inspection, took: Duration) -> serde_json::Value {
    let plan = match inspection {
        Inspection::NotMine => json!(null),
        Inspection::Unsupported { runtime, reason } => {
            json!({"runtime": runtime.label, "unsupported": reason})
        }
        Inspection::Plan(plan) => json!({
            "runtime": plan.runtime.label,
            "version": plan.version,
            "evidence": plan.evidence.points,
            "sites": plan.sites.iter().map(|site| json!({
                "number": format!("{:#x}", site.number),
                "name": site.info.name,
                "location": site.info.location,
                "kind": site.info.kind,
            })).collect::<Vec<_>>(),
            "points": plan.points.iter().map(|point| json!({
                "offset": point.offset.to_string(),
                "vaddr": point.vaddr.to_string(),
                "role": format!("{:?}", point.role).to_lowercase(),
                "site": format!("{:?}", point.site),
                "emulated": point.emulated,
            })).collect::<Vec<_>>(),
            "gaps": plan.gaps.iter().map(|gap| json!({
                "site": gap.site.map(|site| format!("{site:#x}")),
                "reason": gap.reason,
            })).collect::<Vec<_>>(),
        }),
    };
    json!({"file": path, "milliseconds": took.as_secs_f64() * 1000.0, "plan": plan})
}
