//! The `.proto` files hold to buf's standard, comments included.

use std::path::Path;
use std::process::Command;

#[test]
fn the_protos_pass_buf_lint() {
    let python = std::env::var_os("ATOLL_TEST_PYTHON")
        .expect("buf comes with the third-party clients: run `cargo xtask test`, or set ATOLL_TEST_PYTHON");
    let buf = Path::new(&python).with_file_name("buf");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(buf).arg("lint").current_dir(root).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
