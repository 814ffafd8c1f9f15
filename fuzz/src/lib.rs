//! What the fuzz targets share: seeds, made by the program itself, so that no binary file of unknown origin is
//! in the repository.

pub mod seed;

/// With `--write-seeds FOLDER` on the command line, writes the seeds there and ends the program.
pub fn write_seeds_if_asked(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let mut args = std::env::args().skip_while(|arg| arg != "--write-seeds").skip(1);
    let Some(folder) = args.next().map(std::path::PathBuf::from) else {
        return;
    };
    for (number, seed) in seeds().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).expect("writing a seed");
    }
    std::process::exit(0);
}

/// Any identity: it decides nothing that is fuzzed.
#[must_use]
pub fn identity() -> leak_agent::types::ExecutableId {
    leak_agent::types::ExecutableId::BuildId(vec![0; 20])
}
