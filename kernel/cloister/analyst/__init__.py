"""The analyst's machine: kernel proxy, verification, trust store. Runs on Linux, macOS and Windows."""
