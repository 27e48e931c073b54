"""The commands of the command line, one module each, imported only when it is called.

A module NAME.py here and a line below make a command. The module has

    add_arguments(parser)   add the command's options to an argparse parser
    run(arguments) -> int   do it and return the exit code; a ValueError becomes one line on stderr and exit code 2
"""

COMMANDS = {
    "echo": "watch an encoder-decoder learn to echo sequences",
    "check": "check the gradients of every cell",
    "bench": "measure speed as a share of this machine's peak, and beside other libraries",
    "flow": "write a page that shows how the gradient flows, vanishes and explodes",
    "reproduce": "measure a published result on gradient flow again",
    "info": "show versions, processor, threads and the folder of compiled kernels",
}
