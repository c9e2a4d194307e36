"""Files that exports carry as they are. They import nothing of Tenshot and are never imported by it."""
