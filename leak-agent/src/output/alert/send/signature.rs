//! The signature of a body: `t=<Unix time>,v1=<hex>`, where the hexadecimal number is the HMAC-SHA256, with the shared key, of
//! the time as it stands there, a full stop, and the body.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt::Write as _;

/// The header that carries it.
pub(super) const HEADER: &str = "x-leak-agent-signature";

/// The header's value.
pub(super) fn sign(key: &[u8], unix: u64, body: &[u8]) -> String {
    let mut value = format!("t={unix},v1=");
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return value;
    };
    mac.update(unix.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// openssl, with the same key over the same text, comes to the same number.
    #[test]
    fn signature_is_what_openssl_says() {
        let body = br#"{"version":1,"note":"caf\u00e9"}"#;
        for key in ["k", "a longer key, with spaces", &"x".repeat(200)] {
            let ours = sign(key.as_bytes(), 1_764_435_785, body);
            let mut openssl = Command::new("openssl")
                .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt"])
                .arg(format!("hexkey:{}", hex(key.as_bytes())))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("openssl is needed to check the signature independently");
            let mut stdin = openssl.stdin.take().unwrap();
            std::io::Write::write_all(&mut stdin, &[b"1764435785.", &body[..]].concat()).unwrap();
            drop(stdin);
            let said = openssl.wait_with_output().unwrap();
            assert!(said.status.success());
            let theirs = String::from_utf8(said.stdout).unwrap();
            let theirs = theirs.trim().rsplit(' ').next().unwrap().to_owned();
            assert_eq!(ours, format!("t=1764435785,v1={theirs}"));
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
