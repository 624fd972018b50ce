"""This module holds the options that each program may be given.

A program is listed here when one of its options runs another program, writes a file, or reads options or names from
one. A program that is not listed has none of these, or only does what a person has listed it for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kubiya_worker.tools.shell.options import Options

_FIND_TESTS: Final = (
    "name= iname= path= ipath= wholename= iwholename= regex= iregex= regextype= lname= ilname= type= xtype= size= "
    "mtime= mmin= atime= amin= ctime= cmin= newer= anewer= cnewer= user= group= uid= gid= perm= maxdepth= mindepth= "
    "links= inum= samefile= fstype= used= printf= context= D= "
    + " ".join(f"newer{a}{b}=" for a in "aBcm" for b in "aBcmt")
)
TABLE: Final[Mapping[str, Options]] = {
    "find": Options(
        words=f"{_FIND_TESTS} H L P O0 O1 O2 O3 print print0 ls prune quit depth d follow xdev mount noleaf daystart "
        "ignore_readdir_race noignore_readdir_race warn nowarn empty readable writable executable nouser nogroup true "
        "false not a o and or help version",
        long="help version",
    ),
    "fd": Options(
        plain="HIuapsgiFlL01q",
        valued="deEtSjc",
        long="hidden no-ignore unrestricted case-sensitive ignore-case glob regex fixed-strings absolute-path "
        "list-details follow full-path print0 max-depth= min-depth= exact-depth= exclude= type= extension= size= "
        "changed-within= changed-before= owner= max-results= color= threads= quiet one-file-system version help",
    ),
    "sort": Options(
        plain="bdfgiMhnRrVcCmsuz",
        valued="kSt",
        long="ignore-leading-blanks dictionary-order ignore-case general-numeric-sort ignore-nonprinting month-sort "
        "human-numeric-sort numeric-sort random-sort reverse version-sort check merge stable unique zero-terminated "
        "debug sort= key= buffer-size= field-separator= parallel= batch-size= files0-from= version help",
    ),
    "uniq": Options(
        plain="cdDuiz0123456789",
        valued="fsw",
        long="count repeated all-repeated unique ignore-case zero-terminated group skip-fields= skip-chars= "
        "check-chars= version help",
    ),
    "shuf": Options(plain="ezr", valued="in", long="echo zero-terminated repeat input-range= head-count= version help"),
    "iconv": Options(plain="lcs", valued="ft", long="list silent from-code= to-code= version help"),
    "split": Options(
        plain="dexuz",
        valued="abClnt",
        long="suffix-length= additional-suffix= bytes= line-bytes= numeric-suffixes hex-suffixes elide-empty-files "
        "lines= number= separator= unbuffered verbose version help",
    ),
    "csplit": Options(
        plain="ksqz", valued="bn", long="keep-files suppress-matched digits= quiet silent elide-empty-files"
    ),
    "tree": Options(
        plain="adflxpsugDhiqNQFrtcnJXSUA",
        valued="LPI",
        long="noreport dirsfirst filesfirst prune matchdirs ignore-case du si inodes device gitignore filelimit= "
        "charset= sort= timefmt= gitfile= help version",
    ),
    "file": Options(
        plain="bhiklnNprsvz0EL",
        valued="fFeP",
        long="brief mime mime-type mime-encoding keep-going dereference no-dereference preserve-date raw special-files "
        "uncompress print0 files-from= separator= exclude= extension no-pad version help",
    ),
    "date": Options(
        plain="uR",
        valued="dr",
        optional="I",
        long="utc universal rfc-email rfc-2822 debug iso-8601 rfc-3339= date= reference= version help",
    ),
    "hostname": Options(
        plain="aAdfiIsyvV",
        long="alias all-fqdns all-ip-addresses domain fqdn long ip-address short yp nis version help",
    ),
    "dmesg": Options(
        plain="HkrtTuxweLdPSVh",
        valued="fl",
        long="human kernel raw notime ctime reltime userspace decode follow follow-new show-delta nopager syslog json "
        "facility= level= time-format= since= until= color version help",
    ),
    "journalctl": Options(
        plain="aefkqrxmlhbnN0123456789",
        valued="uopgtUSc",
        long="unit= user-unit= since= until= lines follow no-pager output= output-fields= priority= boot list-boots "
        "dmesg identifier= grep= case-sensitive reverse catalog all full no-full quiet utc no-hostname no-tail merge "
        "system user fields field= facility= disk-usage verify header list-catalog cursor= after-cursor= show-cursor "
        "pager-end truncate-newline version help",
    ),
    "ss": Options(
        plain="nrlaoempiTsbtuxwdS046EHOQZzhVM",
        valued="fA",
        long="numeric resolve listening all options extended memory processes info tos cgroup summary bpf tcp udp raw "
        "unix dccp sctp packet vsock ipv4 ipv6 no-header oneline events contexts threads family= query= version help",
    ),
    "rg": Options(
        plain="ilnvwcoqsSFHhILNUxuPpb0.a",
        valued="eAgtTBCmMrdjEf",
        long="ignore-case line-number no-line-number invert-match word-regexp count count-matches only-matching quiet "
        "case-sensitive smart-case fixed-strings with-filename no-filename files files-with-matches "
        "files-without-match "
        "multiline multiline-dotall line-regexp unrestricted pcre2 pretty byte-offset null hidden no-hidden text "
        "column "
        "no-heading heading json stats trim vimgrep passthru one-file-system no-ignore no-ignore-vcs no-config "
        "no-messages "
        "follow crlf search-zip type-list regexp= after-context= before-context= context= glob= iglob= type= type-not= "
        "max-count= max-columns= replace= max-depth= threads= encoding= file= color= colors= sort= sortr= "
        "max-filesize= context-separator= debug version help",
    ),
    "ag": Options(
        plain="ilvwcoqsSQHULnuaftrRz0D",
        valued="Gm",
        optional="ABC",
        long="ignore-case literal word-regexp count only-matching nofilename filename files-with-matches hidden depth= "
        "after before context ignore= file-search-regex= nocolor color nogroup group numbers nonumbers stats column "
        "vimgrep max-count= version help",
    ),
    "cpio": Options(
        plain="iotpdmuvVaAB0cLnkl",
        valued="HCR",
        long="extract create list pass-through make-directories preserve-modification-time unconditional verbose dot "
        "reset-access-time append null dereference quiet no-absolute-filenames format= version help",
    ),
    "zip": Options(
        plain="rqvj0123456789DXyugeolSxi",
        valued="n",
        long="recurse-paths quiet verbose junk-paths no-dir-entries no-extra symlinks update grow exclude= include= "
        "help",
    ),
    "unzip": Options(plain="lvtqonjaCpzuZTx", valued="d", writes="-d"),
    **dict.fromkeys(
        ("zstd", "unzstd", "zstdcat", "zstdmt", "pzstd"),
        Options(
            plain="dclfkqvtr0123456789Tz",
            valued="oD",
            long="decompress compress stdout force keep quiet verbose test list fast long ultra check no-check rm "
            "threads= "
            "version help",
            writes="-o",
        ),
    ),
    "rsync": Options(
        plain="avzrlptgoDHAXSnhPiucIWxqmdLkbRO0146",
        valued="B",
        long="archive verbose compress recursive links perms times omit-dir-times group owner devices specials dry-run "
        "human-readable progress partial stats delete delete-after delete-before delete-during delete-delay "
        "delete-excluded update checksum size-only ignore-existing ignore-errors existing inplace append "
        "one-file-system "
        "itemize-changes numeric-ids quiet whole-file sparse copy-links copy-unsafe-links safe-links hard-links acls "
        "xattrs relative no-relative no-perms no-owner no-group no-times prune-empty-dirs list-only backup mkpath "
        "force "
        "ipv4 ipv6 exclude= include= exclude-from= include-from= files-from= from0 max-size= min-size= max-delete= "
        "bwlimit= timeout= contimeout= port= chmod= chown= info= modify-window= compress-level= out-format= "
        "cvs-exclude "
        "executability version help",
    ),
    "scp": Options(plain="346ABCpqrTv", valued="ciPlo"),
    "sftp": Options(plain="46aCNpqrv", valued="BciPRlo"),
    # Port forwarding, other configurations, logs and libraries are not among these.
    "ssh": Options(plain="46aCknNqTtvVx", valued="bcilmpJBo", ends=True),
    "tar": Options(
        plain="ctxruAdvzjJapkmhSOwWlnosBRUGiPZ0123456789",
        valued="fCTbXVNKg",
        long="list create extract get append update diff compare delete verbose gzip gunzip ungzip bzip2 xz zstd lzip "
        "lzma lzop auto-compress no-auto-compress totals same-permissions preserve-permissions no-same-permissions "
        "same-owner no-same-owner numeric-owner keep-old-files skip-old-files keep-newer-files overwrite overwrite-dir "
        "unlink-first touch dereference hard-dereference one-file-system sparse to-stdout wildcards no-wildcards "
        "anchored no-anchored ignore-case no-recursion recursion null no-null verbatim-files-from exclude-vcs "
        "exclude-caches exclude-vcs-ignores absolute-names full-time utc block-number verify multi-volume ignore-zeros "
        "version help check-links ignore-failed-read no-ignore-command-error xattrs acls selinux no-xattrs no-acls "
        "no-selinux one-top-level file= directory= exclude= exclude-from= files-from= strip-components= format= "
        "blocking-factor= "
        "level= label= newer= after-date= newer-mtime= mode= owner= group= mtime= sort= transform= xform= suffix= "
        "occurrence= starting-file= exclude-tag= show-transformed-names warning= quoting-style= listed-incremental=",
        writes="-g --listed-incremental",
    ),
    # `-o` and `-O` may write in the workspace; `-K`, `-c`, `-D`, `-J` and `-n` read or write files of their own.
    "curl": Options(
        plain="0123456gGfiIkLNqsSvVZ#japlMhO",
        valued="dHXbuAeFmxrwyYzPQtUCETo",
        long="get globoff fail fail-with-body fail-early include head insecure location location-trusted no-buffer "
        "disable silent show-error verbose version parallel parallel-immediate progress-bar junk-session-cookies "
        "append "
        "ipv4 ipv6 http1.0 http1.1 http2 http2-prior-knowledge http3 tlsv1 tlsv1.0 tlsv1.1 tlsv1.2 tlsv1.3 compressed "
        "tr-encoding path-as-is raw post301 post302 post303 retry-connrefused retry-all-errors remote-time ssl "
        "ssl-reqd "
        "anyauth basic digest ntlm negotiate proxy-insecure tcp-nodelay tcp-fastopen no-keepalive no-progress-meter "
        "remote-name remote-name-all styled-output trace-time ftp-pasv list-only use-ascii create-dirs xattr help "
        "cert-status "
        "suppress-connect-headers "
        "data= data-raw= data-binary= data-ascii= data-urlencode= json= header= request= user= form= form-string= "
        "user-agent= cookie= referer= max-time= connect-timeout= retry= retry-delay= retry-max-time= proxy= "
        "proxy-user= "
        "proxy-header= noproxy= write-out= cacert= capath= cert= cert-type= key= key-type= pass= pinnedpubkey= "
        "resolve= "
        "connect-to= max-filesize= limit-rate= rate= url-query= range= max-redirs= interface= local-port= speed-limit= "
        "speed-time= oauth2-bearer= aws-sigv4= ciphers= tls13-ciphers= curves= tls-max= dns-servers= "
        "expect100-timeout= keepalive-time= continue-at= time-cond= upload-file= url= output= proto= proto-redir= "
        "request-target= socks5= socks5-hostname= happy-eyeballs-timeout-ms= parallel-max= quote=",
        writes="-o --output",
    ),
    "wget": Options(
        plain="qvcSNrkpHEKLx46dVhn",
        valued="OtTUQwiPARlDIX",
        long="quiet verbose no-verbose debug spider server-response tries= timeout= connect-timeout= read-timeout= "
        "dns-timeout= header= user-agent= referer= post-data= method= body-data= no-check-certificate ca-certificate= "
        "output-document= directory-prefix= continue timestamping recursive level= no-parent accept= reject= "
        "max-redirect= content-on-error show-progress no-show-progress progress= limit-rate= wait= random-wait quota= "
        "no-clobber no-directories no-host-directories page-requisites convert-links span-hosts domains= "
        "retry-connrefused no-proxy inet4-only inet6-only no-cache no-cookies https-only http-user= input-file= "
        "content-disposition trust-server-names version help",
        writes="-O -P --output-document --directory-prefix",
    ),
    "tcpdump": Options(
        plain="AbdDefhHIJKlLnNOpqStuUvxX#",
        valued="cijrsyT",
        long="list-interfaces number print interface= immediate-mode count version help",
    ),
    "nmap": Options(
        optional="p",
        words="sS sT sU sV sn sP sA sW sY sL sC Pn PE PP n R F O A 6 r v vv d T0 T1 T2 T3 T4 T5 p- p= g= e= h V PS "
        "PA PU",
        long="open reason traceroute top-ports= exclude= host-timeout= max-retries= min-rate= max-rate= "
        "version-intensity= version-light packet-trace iflist system-dns dns-servers= version help",
    ),
    "man": Options(plain="afkwWI", valued="sSLe", long="all whatis apropos where path sections= locale= version help"),
    "less": Options(
        plain="NSRiIFXEemMnrsfqQgGwWV0123456789",
        valued="xjpPz",
        long="LINE-NUMBERS chop-long-lines RAW-CONTROL-CHARS ignore-case quit-if-one-screen no-init QUIT-AT-EOF",
    ),
    "more": Options(plain="dlfcpsu0123456789", valued="n"),
    "openssl": Options(
        words="noout text dates enddate startdate subject issuer fingerprint serial md5 sha1 sha224 sha256 sha384 "
        "sha512 "
        "hash purpose pubkey modulus email ocsp_uri alias showcerts brief status prexit quiet ign_eof no_ign_eof "
        "noservername tls1 tls1_1 tls1_2 tls1_3 verify_return_error x509_strict crl_check crl_check_all partial_chain "
        "hex base64 r binary list a v b s help strict in= ext= checkend= checkhost= checkip= connect= servername= "
        "starttls= CAfile= CApath= alpn= verify= verify_hostname= verify_ip= untrusted= inform= outform= nameopt= "
        "certopt= dateopt= cipher= ciphersuites= groups= cert= key= host= port= commands digest-commands "
        "cipher-algorithms -help proxy= xmpphost= 4 6 no-CAfile no-CApath check info nodes noenc nokeys nocerts "
        "req signkey= print_certs digest-algorithms name= genkey disabled public-key-algorithms traditional "
        "clcerts cacerts new newkey= keyout= out= subj= addext= days= x509 passin= passout= pubin pubout signature= "
        "sign= aes128 aes256 aes-128-cbc aes-256-cbc pbkdf2 salt iter= d e A i asn1 ",
        writes="-out -keyout",
    ),
    "dig": Options(plain="46mruvh", valued="btpcqxy"),
    "nc": Options(plain="46vznudN", valued="wspiXxq"),
    "netcat": Options(plain="46vznudN", valued="wspiXxq"),
    "lsof": Options(plain="anPRbhlNOtUVwX", valued="pucdg", optional="iSFrTs", long="help"),
    "jq": Options(
        plain="nrRjaCMScseV",
        valued="",
        long="null-input raw-output raw-output0 raw-input join-output ascii-output color-output monochrome-output "
        "sort-keys compact-output slurp exit-status tab indent= seq stream stream-errors unbuffered arg= argjson= args "
        "jsonargs version help",
    ),
    "psql": Options(
        plain="lqtAxXnwEe10zaV?",
        valued="cdhpUPFRT",
        long="list quiet tuples-only no-align expanded no-psqlrc no-readline no-password echo-hidden echo-errors "
        "echo-queries single-transaction csv html command= dbname= host= port= username= pset= field-separator= "
        "record-separator= table-attr= version help",
    ),
    "mysql": Options(
        plain="BNstEHvVCfnAr",
        valued="uhPDeS",
        optional="p",
        long="batch silent table vertical html xml verbose skip-column-names column-names compress force unbuffered "
        "no-auto-rehash raw user= host= port= database= execute= password socket= connect-timeout= protocol= ssl-mode= "
        "ssl-ca= default-character-set= safe-updates version help",
    ),
    "sqlite3": Options(
        words="readonly json csv header noheader column line list html box table markdown quote tabs ascii bail batch "
        "echo safe stats version help separator= nullvalue= newline=",
        long="readonly json csv header version help",
    ),
    "xxd": Options(words="a b e E i p ps plain u C c= cols= g= l= len= s= seek= n= name= h v"),
    "strings": Options(plain="afowh", valued="nteT", long="all print-file-name bytes= radix= encoding= version help"),
    "nm": Options(plain="aABCDglnoPprSsuvX", long="demangle dynamic extern-only size-sort numeric-sort undefined-only"),
    "objdump": Options(
        plain="afhxdDgstTrRCwzpS", valued="jMbm", long="disassemble headers syms section= demangle all-headers"
    ),
    "readelf": Options(
        plain="ahlSgteWsnruVdAIc", valued="xp", optional="w", long="all headers sections symbols dynamic notes wide"
    ),
    "diff3": Options(
        plain="AeExX3aimTv",
        valued="L",
        long="show-all ed show-overlap easy-only merge text initial-tab label= strip-trailing-cr version help",
    ),
    "rpm": Options(
        plain="qailpRdcfVvhKs",
        long="query all info list file package requires provides conflicts obsoletes whatrequires= whatprovides= last "
        "changelog scripts triggers queryformat= qf= state verify nodeps nofiles checksig version help",
    ),
    "size": Options(plain="ABdoxt", long="format= radix= common totals version help"),
    "addr2line": Options(
        plain="aipsfCr",
        valued="eb",
        long="addresses exe= functions basenames inlines pretty-print demangle version help",
    ),
    "c++filt": Options(plain="_ntirp", valued="s", long="format= no-params types no-strip-underscore version help"),
    **dict.fromkeys(
        ("bat", "batcat"),
        Options(
            plain="AnpSuPd",
            valued="lHr",
            long="show-all plain language= highlight-line= file-name= diff number tabs= wrap= terminal-width= color= "
            "decorations= style= theme= line-range= list-languages list-themes version help",
        ),
    ),
    "lscpu": Options(plain="aebcxpyJs", long="all extended json parse online offline"),
    "dpkg": Options(
        plain="lLsSpVCh",
        long="list listfiles status search print-avail verify audit get-selections print-architecture "
        "print-foreign-architectures no-pager version help",
    ),
    "dpkg-query": Options(
        plain="lLsSpWc", valued="f", long="list listfiles status search show showformat= no-pager version"
    ),
    "tee": Options(plain="aip", long="append ignore-interrupts version help"),
}
