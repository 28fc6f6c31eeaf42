"""What servers elsewhere speak, a file each."""
