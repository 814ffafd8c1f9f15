use leak_agent::elf::*;
use leak_agent::source::tokio::{names, vtable};
fn main() {
    for path in std::env::args().skip(1) {
        let data = std::fs::read(&path).unwrap();
        let t0 = std::time::Instant::now();
        let elf = Elf {
            data: &data,
            id: leak_agent::types::ExecutableId::BuildId(vec![1]),
        };
        let image = Image::parse(&elf).unwrap();
        let pointers = Pointers::read(&image).unwrap();
        let functions = Functions::find(&image, &pointers);
        let vts = vtable::modern(&image, &pointers);
        let t1 = std::time::Instant::now();
        let infos = names::describe(&image, &pointers, &functions, &vts, &elf.id);
        eprintln!("{path}: {} vtables, {:?} {:?}", vts.len(), t1 - t0, t1.elapsed());
        for i in infos {
            println!(
                "{}\t{}\t{}\t{}\t{}\t{}\t{}",
                i.id.split(':').nth(1).unwrap(),
                i.kind,
                i.name,
                i.system,
                i.ambiguous,
                i.location.unwrap_or_default(),
                i.note.unwrap_or_default()
            );
        }
    }
}
