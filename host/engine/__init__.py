"""The integer engine on this computer: ways to execute its kernels, and learners made of them."""
