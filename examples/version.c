/* The smallest program that uses librfhe: which version is running, and what a status code is called. */
#include <rfhe/rfhe.h>

#include <stdio.h>

int main(void)
{
    rfhe_error err = {RFHE_OK, ""};
    const rfhe_status st = rfhe_fail(&err, RFHE_E_UNSUPPORTED,
                                     "this program only shows its version, %s", rfhe_version());

    (void)printf("librfhe %s\n%s: %s\n", rfhe_version(), rfhe_status_name(st), err.text);
    return 0;
}
