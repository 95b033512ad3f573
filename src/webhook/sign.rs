//! Signatures: HMAC-SHA256 over id, time and body of a post.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};

/// The header `webhook-signature`: one signature for each secret, separated by spaces. `timestamp` is in unix seconds.
pub(super) fn signatures(secrets: &[&[u8]], id: &str, timestamp: i64, body: &str) -> String {
    let message = format!("{id}.{timestamp}.{body}");
    let signed = secrets.iter().map(|secret| {
        let signature = hmac_sha256(secret, message.as_bytes());
        format!("v1,{}", STANDARD.encode(signature))
    });
    signed.collect::<Vec<_>>().join(" ")
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    engine.input(message);
    Hmac::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use bitcoin::hex::DisplayHex;

    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        for (key, message, mac) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hmac_sha256(key, message).to_lower_hex_string(), mac);
        }
    }

    #[test]
    fn signatures_agree_with_the_example_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "{\"test\": 2432232314}");
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let sign = |secrets: &[&[u8]]| signatures(secrets, id, 1_614_265_330, body);
        assert_eq!(sign(&[&secret]), expected);
        let both = sign(&[&[1; 24], &secret]);
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!((first, second), (sign(&[&[1; 24]]).as_str(), expected));
    }
}
