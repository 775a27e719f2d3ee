"""What notebook code imports inside the enclave. Untrusted, and without data."""
