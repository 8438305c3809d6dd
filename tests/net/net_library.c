/* net_library.c - a library that some nodes do not have. */
int net_library(void);

int net_library(void)
{
    return 0;
}
